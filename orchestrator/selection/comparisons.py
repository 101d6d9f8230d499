"""Arms against each other: paired by seed and image, corrected for the number of comparisons.

Three families, each answering one question (LOTUS; Instant Soup):

- `against_dense`: every arm at its best setting against the `dense` arm with the same fine-tuning,
  on test;
- `against_controls`: the fullest arm against each control, at a setting that differs only in what
  the control replaces, on test;
- `after_pruning`: ISSP, one-shot magnitude and random masks at equal sparsity, on validation,
  before any fine-tuning.

Test accuracies are deployed accuracies (`settings.py`). Each difference has two scopes
(`scopes.py`), each with an uncorrected and a corrected interval. In a family of m comparisons the
corrected one has confidence 1 - (1 - c) / m (Bonferroni), so that all hold together with
confidence c even though the comparisons share images, seeds and arms. Verdicts use only the
corrected interval.
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
        models_low, models_high: uncorrected limits for these models; None where the interval is
            left out (`statistics.sayable`).
        seeds_low, seeds_high: the same for other seeds; also None with fewer than 3 seeds.
        *_corrected_*: limits that hold together for the whole family.
        scope: the widest one with an interval. `verdict` applies to it and uses its corrected
            limits; `verdict_models` applies to these models.
        equal_within: the bound of a verdict "equal", at most `margin`.
        would_decide: what would decide a verdict "undecided".
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
        """The interval behind the verdict."""
        if self.scope == OTHER_SEEDS:
            low, high = self.seeds_corrected_low, self.seeds_corrected_high
        else:
            low, high = self.models_corrected_low, self.models_corrected_high
        return Interval(mean=self.mean, low=low, high=high)


class Spreads:
    """The spread between seeds of every setting, for each measure."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        self._settings = settings
        self._by_column: dict[str, SeedSpread] = {}

    def of(self, measure: Measure) -> SeedSpread:
        """The spread of a measure's accuracies; all masks share one pool, ISSP's and controls'."""
        columns = [measure.accuracy]
        if measure in (PRUNED, CONTROL):
            columns = [PRUNED.accuracy, CONTROL.accuracy]
        column = columns[0]
        if column not in self._by_column:
            self._by_column[column] = SeedSpread(accuracies(self._settings, columns))
        return self._by_column[column]

    def difference(self, c: Contrast, pairs: Sequence[Pair]) -> Difference | None:
        """The difference of a contrast, with a spread between seeds borrowed from the whole sweep.

        A setting against the dense models of its own trials uses the spread of the pairs.
        """
        against_itself = c.a is c.b
        return difference(
            pairs, None if against_itself else self.of(c.of_a).between(c.a.place, c.b.place)
        )


def accuracies(settings: Sequence[Setting], columns: Sequence[str]) -> Accuracies:
    """Setting -> seed -> mean of the first of the columns that its trials have."""
    table: dict[Any, Mapping[float, float]] = {}
    for s in settings:
        values: dict[float, float] = {}
        for seed, trials in s.by_seed().items():
            values_at_seed = [
                v for r in trials
                if (v := next((r[c] for c in columns if r.get(c) is not None), None)) is not None
            ]  # fmt: skip
            if values_at_seed:
                values[seed] = sum(values_at_seed) / len(values_at_seed)
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
    """Compare the contrasts with both sides measured on the same images.

    Args:
        outcomes: see `Outcomes`; for missing trials, counts against the dense model are used.
        confidence: of one comparison uncorrected, and of a whole family corrected.
        margin: differences up to this count as equal, a fraction.
    """
    measured = [
        (c, d) for c in planned if (d := spreads.difference(c, c.pairs(outcomes))) is not None
    ]
    sizes = Counter(c.family for c, _ in measured)
    return [compared(c, d, sizes[c.family], confidence, margin) for c, d in measured]


def compared(
    c: Contrast, gap: Difference, size: int, confidence: float, margin: float
) -> ArmComparison:
    """A comparison from its difference, as one of a family of `size`."""
    each = 1 - (1 - confidence) / size
    models, seeds = (gap.interval(s, confidence) for s in (THESE_MODELS, OTHER_SEEDS))
    models_all, seeds_all = (gap.interval(s, each) for s in (THESE_MODELS, OTHER_SEEDS))
    outcome, within = verdict(seeds_all if gap.scope == OTHER_SEEDS else models_all, margin)
    would = None
    if outcome == "undecided":
        would = needed(gap, gap.scope, each, margin).words(gap.n_images)
    return ArmComparison(
        a=c.a.arm,
        b=c.b.arm,
        setting_a=dict(c.a.axes),
        setting_b=dict(c.b.axes),
        split=c.of_a.outcome.rpartition(".")[2],
        n=gap.n,
        n_images=gap.n_images,
        mean=gap.mean,
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
        scope=gap.scope,
        verdict=outcome,
        verdict_models=verdict(models_all, margin)[0],
        equal_within=within,
        would_decide=would,
    )
