"""Arms against each other: paired by seed and by image, corrected for how many are compared.

Three families, each a question of its own (methods.md, sections 2 and 4):

- `against_dense`: every arm at its best setting against the `dense` arm, which has had the same
  fine-tuning, on test;
- `against_controls`: the fullest arm against each control at a setting that differs in nothing
  but what the control replaces, on test;
- `after_pruning`: ISSP, one-shot magnitude and random masks at equal sparsity, on validation,
  before any fine-tuning.

Within a family of m comparisons the corrected limits have confidence 1 - (1 - c) / m
(Bonferroni): all of them hold together with confidence c, however the comparisons depend on
each other, and here they do: they share images, seeds and arms. A verdict comes from them only.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from orchestrator.selection.arms import CONTROLS, Setting, best_settings, preference
from orchestrator.selection.curve import Row
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.statistics import Interval, paired_drop

Family = Literal["against_dense", "against_controls", "after_pruning"]
Verdict = Literal["better", "worse", "not told apart"]

MOST_SEEDS = 30  # bounds what a report reads; the interval hardly narrows beyond
EQUAL_SPARSITY = 1e-3
FULLEST = ("lotus", "issp", "essential", "tickets")
# Per control: the axis that must be above 0 for it to differ from lotus; what it tests.
TESTS = {
    "random_patches": ("patch_drop", "choosing patches by attention"),
    "random_mask": ("sparsity", "choosing weights by magnitude and denoising"),
    "magnitude": ("sparsity", "denoising the mask"),
}
_BY_MASK = ("magnitude", "random_mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two settings to compare, and the name of what is compared in the outcomes of each."""

    family: Family
    a: Setting
    b: Setting
    measured_a: str
    measured_b: str

    def pairs(self) -> list[list[tuple[str, str]]]:
        """Per common seed, at most MOST_SEEDS of them, the keys of the trials to pair."""
        mine, theirs = _by_seed(self.a), _by_seed(self.b)
        common = sorted(mine.keys() & theirs.keys())[:MOST_SEEDS]
        return [list(product(mine[seed], theirs[seed])) for seed in common]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """Arm a minus arm b, as fractions of the images; positive = a is better.

    Attributes:
        n: seeds that both have; n_images: images of the split, the same for both.
        ci_low, ci_high: limits of this comparison alone (`statistics.paired_drop`).
        corrected_low, corrected_high: limits that hold together for the whole family.
        verdict: of a, from the corrected limits. With n = 1 it is about those two models.
    """

    a: str
    b: str
    setting_a: dict[str, Any]
    setting_b: dict[str, Any]
    split: str
    n: int
    n_images: int
    mean: float
    ci_low: float
    ci_high: float
    corrected_low: float
    corrected_high: float
    family: Family
    family_size: int
    verdict: Verdict


def contrasts(found: Sequence[Setting]) -> list[Contrast]:
    """What to compare, decided by validation and axes alone: no outcome is needed for it."""
    ordered = sorted(found, key=preference)
    return [*_against_dense(found), *_against_controls(ordered), *_after_pruning(ordered)]


def needed_trials(planned: Sequence[Contrast]) -> list[str]:
    """Keys of the trials whose outcomes the contrasts read, each once."""
    keys = [key for c in planned for seed in c.pairs() for pair in seed for key in pair]
    return list(dict.fromkeys(keys))


def compare_arms(
    planned: Sequence[Contrast], outcomes: Outcomes, confidence: float = 0.95
) -> list[ArmComparison]:
    """The contrasts for which both sides have outcomes on the same images.

    Args:
        outcomes: see `Outcomes`; trials may be missing.
        confidence: of one comparison alone, and of all of a family together.
    """
    counted = [(c, counts) for c in planned if (counts := _counts(c, outcomes)) is not None]
    sizes = Counter(c.family for c, _ in counted)
    return [_compared(c, counts, sizes[c.family], confidence) for c, counts in counted]


def agree(a: Setting, b: Setting, ignored: str = "") -> bool:
    """Whether two settings have the same value on every axis that both use, but `ignored`."""
    return all(
        name == ignored or value is None or b.axes[name] is None or value == b.axes[name]
        for name, value in a.axes.items()
    )


def _against_dense(found: Sequence[Setting]) -> Iterator[Contrast]:
    best = best_settings(found)
    dense = best.pop("dense", None)
    for setting in best.values() if dense else ():
        if dense and _share_seeds(setting, dense):
            yield _contrast("against_dense", setting, dense, "final.test", "final.test")


def _against_controls(ordered: Sequence[Setting]) -> Iterator[Contrast]:
    for control in CONTROLS:
        axis = TESTS[control][0]
        differing = [s for s in ordered if s.axes[axis] != 0]
        if pair := _match(differing, FULLEST, control, _differ_in_one_thing):
            yield _contrast("against_controls", *pair, "final.test", "final.test")


def _after_pruning(ordered: Sequence[Setting]) -> Iterator[Contrast]:
    measured = {"issp": "issp.validation", "control": "control.validation"}
    for control in _BY_MASK:
        if pair := _match(ordered, ("lotus", "issp"), control, _equal_masks):
            yield _contrast("after_pruning", *pair, measured["issp"], measured["control"])
    if pair := _match(ordered, ("magnitude",), "random_mask", _equal_masks):
        yield _contrast("after_pruning", *pair, measured["control"], measured["control"])


def _contrast(family: Family, a: Setting, b: Setting, measured_a: str, measured_b: str) -> Contrast:
    return Contrast(family=family, a=a, b=b, measured_a=measured_a, measured_b=measured_b)


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
                    if fits(mine, b) and _share_seeds(mine, b):
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
    mine, theirs = a.mean["final/sparsity"], b.mean["final/sparsity"]
    return mine is None or theirs is None or abs(mine - theirs) < EQUAL_SPARSITY


def _share_seeds(a: Setting, b: Setting) -> bool:
    return bool(_by_seed(a).keys() & _by_seed(b).keys())


def _by_seed(setting: Setting) -> dict[float, list[str]]:
    """Keys of the trials of each seed, in a fixed order."""
    found: dict[float, list[str]] = {}
    for trial in sorted(setting.trials, key=_key):
        if trial["seed"] is not None and trial["key"] is not None:
            found.setdefault(float(trial["seed"]), []).append(trial["key"])
    return found


def _key(trial: Row) -> str:
    return str(trial["key"])


@dataclass(frozen=True, slots=True)
class _Counts:
    """Per seed: images that only a, and that only b, gets right."""

    only_a: list[float]
    only_b: list[float]
    n_images: int


def _counts(contrast: Contrast, outcomes: Outcomes) -> _Counts | None:
    only_a: list[float] = []
    only_b: list[float] = []
    sizes: set[int] = set()
    for seed in contrast.pairs():
        read = [
            (outcomes[a][contrast.measured_a], outcomes[b][contrast.measured_b])
            for a, b in seed
            if contrast.measured_a in outcomes.get(a, ())
            and contrast.measured_b in outcomes.get(b, ())
        ]
        if not read:
            continue
        sizes |= {len(bits) for pair in read for bits in pair}
        if len(sizes) > 1:  # not the same images: nothing can be paired
            return None
        only_a.append(float(np.mean([np.count_nonzero(a & ~b) for a, b in read])))
        only_b.append(float(np.mean([np.count_nonzero(~a & b) for a, b in read])))
    n_images = sizes.pop() if sizes else 0
    return _Counts(only_a, only_b, n_images) if n_images else None


def _compared(c: Contrast, counts: _Counts, size: int, confidence: float) -> ArmComparison:
    def limits(at: float) -> tuple[float, float]:
        found = paired_drop(counts.only_a, counts.only_b, counts.n_images, at)
        return _known(found)

    low, high = limits(confidence)
    corrected = limits(1 - (1 - confidence) / size)
    net = [a - b for a, b in zip(counts.only_a, counts.only_b, strict=True)]
    return ArmComparison(
        a=c.a.arm,
        b=c.b.arm,
        setting_a=dict(c.a.axes),
        setting_b=dict(c.b.axes),
        split=c.measured_a.rpartition(".")[2],
        n=len(net),
        n_images=counts.n_images,
        mean=float(np.mean(net)) / counts.n_images,
        ci_low=low,
        ci_high=high,
        corrected_low=corrected[0],
        corrected_high=corrected[1],
        family=c.family,
        family_size=size,
        verdict=verdict(*corrected),
    )


def _known(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None, "paired_drop always has limits"
    assert interval.high is not None, "paired_drop always has limits"
    return interval.low, interval.high


def verdict(low: float, high: float) -> Verdict:
    """What limits of a difference say: the sign, where they hold no 0."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not told apart"
