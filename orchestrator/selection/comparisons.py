"""Arms against each other: paired by seed and by image, corrected for how many are compared.

Three families, each a question of its own (LOTUS; Instant Soup):

- `against_dense`: every arm at its best setting against the `dense` arm, which has had the same
  fine-tuning, on test;
- `against_controls`: the fullest arm against each control at a setting that differs in nothing
  but what the control replaces, on test;
- `after_pruning`: ISSP, one-shot magnitude and random masks at equal sparsity, on validation,
  before any fine-tuning.

Accuracies on test are the deployed ones (`settings.py`). Each difference has two scopes
(`scopes.py`), and in each an interval of its own and one that is corrected: within a family of m
comparisons it has confidence 1 - (1 - c) / m (Bonferroni), so all of them hold together with
confidence c, however the comparisons depend on each other, and here they do: they share images,
seeds and arms. A verdict comes from the corrected interval only.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

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
from orchestrator.selection.scopes import (
    OTHER_SEEDS,
    THESE_MODELS,
    Difference,
    Scope,
    Verdict,
    difference,
    needed,
    verdict,
)
from orchestrator.selection.seeds import Accuracies, SeedSpread
from orchestrator.selection.settings import (
    Setting,
    agree,
    best_settings,
    preference,
    same_sparsity,
)
from orchestrator.selection.statistics import Interval
from trials.arms import BY_NAME, CONTROLS, ISSP_ARMS, LOTUS_ARMS, MASK_CONTROLS
from trials.arms import DENSE as DENSE_ARM

Family = Literal["against_dense", "against_controls", "after_pruning"]

MOST_SEEDS = 30  # bounds what a report reads; the interval hardly narrows beyond
FULLEST = tuple(reversed(LOTUS_ARMS))
INFORMED = tuple(reversed(MASK_CONTROLS))
"""Controls of the mask, the one that knows most first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two settings to compare, and which evaluation of each."""

    family: Family
    a: Setting
    b: Setting
    of_a: Measure
    of_b: Measure

    def trials(self) -> list[list[tuple[Row, Row]]]:
        """Per common seed, at most MOST_SEEDS of them, the trials to pair."""
        mine, theirs = self.a.by_seed(), self.b.by_seed()
        common = self.a.seeds_with(self.b)[:MOST_SEEDS]
        return [list(product(mine[seed], theirs[seed])) for seed in common]

    def pairs(self, outcomes: Outcomes) -> list[Pair]:
        """One pair for each common seed on which both were measured."""
        found = []
        for seed in self.trials():
            known = [pair_of(a, b, self.of_a, self.of_b, outcomes) for a, b in seed]
            if read := [pair for pair in known if pair is not None]:
                found.append(together(read))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """Arm a minus arm b, as fractions of the images; positive = a is better.

    Attributes:
        n: seeds that both have; n_images: images of the split, the same for both.
        models_low, models_high: limits of this comparison alone, about these models; None where
            nothing is said (`statistics.sayable`).
        seeds_low, seeds_high: the same about other seeds; None below 3 seeds too.
        *_corrected_*: limits that hold together for the whole family.
        scope: the widest that something can be said about; `verdict` is in it, read from its
            corrected limits, and `verdict_models` is about these models.
        equal_within: of a verdict "equal", the bound; below `margin`.
        would_decide: of a verdict "undecided", what would.
    """

    a: str
    b: str
    setting_a: dict[str, Any]
    setting_b: dict[str, Any]
    split: str
    n: int
    n_images: int | None
    mean: float
    models_low: float | None
    models_high: float | None
    models_corrected_low: float | None
    models_corrected_high: float | None
    seeds_low: float | None
    seeds_high: float | None
    seeds_corrected_low: float | None
    seeds_corrected_high: float | None
    family: Family
    family_size: int
    margin: float
    scope: Scope
    verdict: Verdict
    verdict_models: Verdict
    equal_within: float | None
    would_decide: str | None

    @property
    def corrected(self) -> Interval:
        """What the verdict was read from."""
        if self.scope == OTHER_SEEDS:
            low, high = self.seeds_corrected_low, self.seeds_corrected_high
        else:
            low, high = self.models_corrected_low, self.models_corrected_high
        return Interval(mean=self.mean, low=low, high=high)


class Spreads:
    """The spread between seeds of every setting, by what was measured of it."""

    def __init__(self, found: Sequence[Setting]) -> None:
        self._found = found
        self._known: dict[str, SeedSpread] = {}

    def of(self, measure: Measure) -> SeedSpread:
        """Of the accuracies that the measure names; masks share one pool, whoever made them."""
        columns = [measure.accuracy]
        if measure in (PRUNED, CONTROL):
            columns = [PRUNED.accuracy, CONTROL.accuracy]
        name = columns[0]
        if name not in self._known:
            self._known[name] = SeedSpread(accuracies(self._found, columns))
        return self._known[name]

    def difference(self, c: Contrast, pairs: Sequence[Pair]) -> Difference | None:
        """The difference of a contrast, its spread between seeds borrowed from the whole sweep.

        A setting against its own trials' dense models has the pairs' own spread.
        """
        own = c.a is c.b
        return difference(pairs, None if own else self.of(c.of_a).between(c.a.place, c.b.place))


def accuracies(found: Sequence[Setting], columns: Sequence[str]) -> Accuracies:
    """Setting -> seed -> mean of the first of the columns that its trials have."""
    table: dict[Any, Mapping[float, float]] = {}
    for s in found:
        values: dict[float, float] = {}
        for seed, trials in s.by_seed().items():
            known = [
                v for r in trials
                if (v := next((r[c] for c in columns if r.get(c) is not None), None)) is not None
            ]  # fmt: skip
            if known:
                values[seed] = sum(known) / len(known)
        if values:
            table[s.place] = values
    return table


def contrasts(found: Sequence[Setting]) -> list[Contrast]:
    """What to compare, decided by validation and axes alone: no outcome is needed for it."""
    ordered = sorted(found, key=preference)
    return [*_against_dense(found), *_against_controls(ordered), *_after_pruning(ordered)]


def needed_trials(planned: Sequence[Contrast]) -> list[str]:
    """Keys of the trials whose outcomes the contrasts read, each once."""
    keys = [
        str(row["key"])
        for c in planned for seed in c.trials() for pair in seed for row in pair
        if row["key"] is not None
    ]  # fmt: skip
    return list(dict.fromkeys(keys))


def compare_arms(
    planned: Sequence[Contrast],
    outcomes: Outcomes,
    spreads: Spreads,
    confidence: float = 0.95,
    margin: float = 0.01,
) -> list[ArmComparison]:
    """The contrasts of which both sides were measured on the same images.

    Args:
        outcomes: see `Outcomes`; where trials are missing, counts against the dense model serve.
        confidence: of one comparison alone, and of all of a family together.
        margin: differences up to this count as equal, a fraction.
    """
    found = [(c, d) for c in planned if (d := spreads.difference(c, c.pairs(outcomes))) is not None]
    sizes = Counter(c.family for c, _ in found)
    return [_compared(c, d, sizes[c.family], confidence, margin) for c, d in found]


def dense_for(setting: Setting, found: Sequence[Setting]) -> Setting | None:
    """The `dense` arm with the same fine-tuning as a setting; most common seeds, then the best."""
    fitting = [
        s for s in found if s.arm == DENSE_ARM and agree(setting, s) and setting.seeds_with(s)
    ]
    return min(fitting, key=lambda s: (-len(setting.seeds_with(s)), preference(s)), default=None)


def against_reference(
    setting: Setting, found: Sequence[Setting], validation: bool = False
) -> Contrast:
    """A setting against the dense reference.

    That is the `dense` arm with the same fine-tuning; where none was run, the dense models that
    the setting's own trials started from, before fine-tuning.
    """
    own, before = (CHOSEN_BY, DENSE_CHOSEN_BY) if validation else (FINAL, DENSE)
    dense = dense_for(setting, found)
    if dense is None:
        return Contrast(family="against_dense", a=setting, b=setting, of_a=own, of_b=before)
    return Contrast(family="against_dense", a=setting, b=dense, of_a=own, of_b=own)


def _against_dense(found: Sequence[Setting]) -> Iterator[Contrast]:
    for setting in best_settings(found).values():
        if setting.arm != DENSE_ARM and dense_for(setting, found):
            yield against_reference(setting, found)


def _against_controls(ordered: Sequence[Setting]) -> Iterator[Contrast]:
    for control in CONTROLS:
        axis = BY_NAME[control].differs_with
        differing = [s for s in ordered if s.axes[axis] != 0]
        if pair := _match(differing, FULLEST, control, _differ_in_one_thing):
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
    """The best setting of the first of `arms` that fits one of `other`, and the best of those."""
    theirs = [s for s in ordered if s.arm == other]
    for arm in arms:
        for mine in ordered:
            if mine.arm == arm:
                for b in theirs:
                    if fits(mine, b) and mine.seeds_with(b):
                        return mine, b
    return None


def _equal_masks(a: Setting, b: Setting) -> bool:
    # No mask depends on the patches that fine-tuning will see.
    return agree(a, b, ignored="patch_drop") and _equal_sparsity(a, b)


def _differ_in_one_thing(a: Setting, b: Setting) -> bool:
    # An arm without tickets keeps all patches: a control that drops some differs in two things.
    dropped = (a.axes["patch_drop"] or 0) == (b.axes["patch_drop"] or 0)
    return dropped and _equal_sparsity(a, b) and agree(a, b)


def _equal_sparsity(a: Setting, b: Setting) -> bool:
    return same_sparsity(a.mean["final/sparsity"], b.mean["final/sparsity"])


def _compared(
    c: Contrast, found: Difference, size: int, confidence: float, margin: float
) -> ArmComparison:
    each = 1 - (1 - confidence) / size
    models, seeds = (found.interval(s, confidence) for s in (THESE_MODELS, OTHER_SEEDS))
    models_all, seeds_all = (found.interval(s, each) for s in (THESE_MODELS, OTHER_SEEDS))
    said, within = verdict(seeds_all if found.scope == OTHER_SEEDS else models_all, margin)
    would = None
    if said == "undecided":
        would = needed(found, found.scope, each, margin).words(found.n_images)
    return ArmComparison(
        a=c.a.arm,
        b=c.b.arm,
        setting_a=dict(c.a.axes),
        setting_b=dict(c.b.axes),
        split=c.of_a.outcome.rpartition(".")[2],
        n=found.n,
        n_images=found.n_images,
        mean=found.mean,
        models_low=models.low,
        models_high=models.high,
        models_corrected_low=models_all.low,
        models_corrected_high=models_all.high,
        seeds_low=seeds.low,
        seeds_high=seeds.high,
        seeds_corrected_low=seeds_all.low,
        seeds_corrected_high=seeds_all.high,
        family=c.family,
        family_size=size,
        margin=margin,
        scope=found.scope,
        verdict=said,
        verdict_models=verdict(models_all, margin)[0],
        equal_within=within,
        would_decide=would,
    )
