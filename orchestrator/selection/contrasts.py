"""What to compare with what, decided by validation accuracies and axes alone, never by outcomes.

For the three families see `comparisons.py`, which reads the outcomes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

from orchestrator.selection.pairs import (
    CHOSEN_BY,
    CONTROL,
    DENSE,
    DENSE_CHOSEN_BY,
    FINAL,
    PRUNED,
    Measure,
    Outcomes,
    Pair,
    together,
)
from orchestrator.selection.pairs import between as pair_of
from orchestrator.selection.rows import Row
from orchestrator.selection.settings import (
    Setting,
    agree,
    best_settings,
    preference,
    same_sparsity,
)
from orchestrator.vocabulary import Metric
from trials.arms import (
    BY_NAME,
    CONTROLS,
    ISSP_ARMS,
    LOTUS_ARMS,
    MASK_CONTROLS,
    SYSTEM_CONTROLS,
    TICKETED,
)
from trials.arms import DENSE as DENSE_ARM

Family = Literal["against_dense", "against_controls", "after_pruning", "side_by_side"]
"""`comparisons.py` has the first three, `systems.py` the last."""

MOST_SEEDS = 30  # bounds what a report reads; the interval hardly narrows beyond
FULLEST = tuple(reversed(LOTUS_ARMS))
INFORMED = tuple(reversed(MASK_CONTROLS))
"""Controls of the mask, the best-informed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two settings to compare, and the measure of each."""

    family: Family
    a: Setting
    b: Setting
    of_a: Measure
    of_b: Measure

    def trials(self) -> list[list[tuple[Row, Row]]]:
        """The trials to pair, for each of at most MOST_SEEDS common seeds."""
        mine, theirs = self.a.by_seed(), self.b.by_seed()
        common = self.a.seeds_with(self.b)[:MOST_SEEDS]
        return [list(product(mine[seed], theirs[seed])) for seed in common]

    def pairs(self, outcomes: Outcomes) -> list[Pair]:
        """One pair for each common seed at which both were measured."""
        pairs = []
        for seed in self.trials():
            of_seed = [pair_of(a, b, self.of_a, self.of_b, outcomes) for a, b in seed]
            if measured := [pair for pair in of_seed if pair is not None]:
                pairs.append(together(measured))
        return pairs


def contrasts(settings: Sequence[Setting]) -> list[Contrast]:
    """What to compare, decided by validation and axes alone: no outcome is needed."""
    ordered = sorted(settings, key=preference)
    return [*_against_dense(settings), *_against_controls(ordered), *_after_pruning(ordered)]


def needed_trials(planned: Sequence[Contrast]) -> list[str]:
    """Keys of the trials whose outcomes the contrasts read, without duplicates."""
    keys = [
        str(row["key"])
        for c in planned for seed in c.trials() for pair in seed for row in pair
        if row["key"] is not None
    ]  # fmt: skip
    return list(dict.fromkeys(keys))


def dense_for(setting: Setting, settings: Sequence[Setting]) -> Setting | None:
    """The `dense` arm with a setting's fine-tuning; with most seeds in common, then the best."""
    fitting = [
        s
        for s in settings
        if s.arm == DENSE_ARM and _trained_alike(setting, s) and setting.seeds_with(s)
    ]
    return min(fitting, key=lambda s: (-len(setting.seeds_with(s)), preference(s)), default=None)


def _trained_alike(setting: Setting, dense: Setting) -> bool:
    """Whether they agree on every axis that dense reads.

    A trial has the parameters of all sections: a block for `dense` may have another sparsity than
    that for ISSP.
    """
    return all(
        not BY_NAME[DENSE_ARM].concerned(axis)
        or None in (value, dense.axes[axis])
        or value == dense.axes[axis]
        for axis, value in setting.axes.items()
    )


def against_reference(
    setting: Setting, settings: Sequence[Setting], validation: bool = False
) -> Contrast:
    """A setting against the dense reference.

    That is the `dense` arm with the same fine-tuning; if none was run, the dense models that the
    setting's trials started from, before fine-tuning.
    """
    measure, before = (CHOSEN_BY, DENSE_CHOSEN_BY) if validation else (FINAL, DENSE)
    dense = dense_for(setting, settings)
    if dense is None:
        return Contrast(family="against_dense", a=setting, b=setting, of_a=measure, of_b=before)
    return Contrast(family="against_dense", a=setting, b=dense, of_a=measure, of_b=measure)


def _against_dense(settings: Sequence[Setting]) -> Iterator[Contrast]:
    for setting in best_settings(settings).values():
        if setting.arm != DENSE_ARM and dense_for(setting, settings):
            yield against_reference(setting, settings)


def _against_controls(ordered: Sequence[Setting]) -> Iterator[Contrast]:
    for control in CONTROLS:
        axis = BY_NAME[control].differs_with
        differing = [s for s in ordered if s.axes[axis] != 0]
        if pair := _match(differing, FULLEST, control, differ_in_one_thing):
            a, b = pair
            yield Contrast(family="against_controls", a=a, b=b, of_a=FINAL, of_b=FINAL)
    for system, other, _ in SYSTEM_CONTROLS:
        reducing = [s for s in ordered if s.arm not in TICKETED or s.axes["patch_drop"] != 0]
        if pair := _match(reducing, (system,), other, differ_in_method):
            a, b = pair
            yield Contrast(family="against_controls", a=a, b=b, of_a=FINAL, of_b=FINAL)


def _after_pruning(ordered: Sequence[Setting]) -> Iterator[Contrast]:
    for control in INFORMED:
        if pair := _match(ordered, tuple(reversed(ISSP_ARMS)), control, _equal_masks):
            a, b = pair
            yield Contrast(family="after_pruning", a=a, b=b, of_a=PRUNED, of_b=CONTROL)
    for more, less in combinations(INFORMED, 2):
        if pair := _match(ordered, (more,), less, _equal_masks):
            a, b = pair
            yield Contrast(family="after_pruning", a=a, b=b, of_a=CONTROL, of_b=CONTROL)


def _match(
    ordered: Sequence[Setting],
    arms: Sequence[str],
    other: str,
    fits: Callable[[Setting, Setting], bool],
) -> tuple[Setting, Setting] | None:
    """The best setting of the first of `arms` with a fitting setting of `other`, and that one."""
    theirs = [s for s in ordered if s.arm == other]
    for arm in arms:
        for mine in ordered:
            if mine.arm == arm:
                for b in theirs:
                    if fits(mine, b) and mine.seeds_with(b):
                        return mine, b
    return None


def _equal_masks(a: Setting, b: Setting) -> bool:
    # Masks do not depend on the patches that fine-tuning will see.
    return agree(a, b, ignored="patch_drop") and _equal_sparsity(a, b)


def differ_in_one_thing(a: Setting, b: Setting) -> bool:
    """Whether a control differs from a setting in what it replaces alone."""
    # An arm without tickets keeps all patches; a control that drops some would differ twice.
    dropped = (a.axes["patch_drop"] or 0) == (b.axes["patch_drop"] or 0)
    return dropped and _equal_sparsity(a, b) and agree(a, b)


def differ_in_method(a: Setting, b: Setting) -> bool:
    """Whether a system and its control differ in what is chosen alone."""
    return _equal_sparsity(a, b) and agree(a, b, ignored="reduction.method")


def _equal_sparsity(a: Setting, b: Setting) -> bool:
    return same_sparsity(a.mean[Metric.FINAL_SPARSITY], b.mean[Metric.FINAL_SPARSITY])
