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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.selection.contrasts import Contrast, Family
from orchestrator.selection.pairs import (
    CONTROL,
    PRUNED,
    Measure,
    Outcomes,
    Pair,
)
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
)
from orchestrator.selection.statistics import Interval


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
