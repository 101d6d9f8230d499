"""The evidence for the claims: the settings of a sweep, and couples of them seed by seed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import Contrast
from orchestrator.selection.design import PRESET, Point, point, typical
from orchestrator.selection.pairs import FINAL, PRUNED, Outcomes, Pair, between
from orchestrator.selection.rows import Row, mean
from orchestrator.selection.scopes import difference
from orchestrator.selection.settings import Setting, preference, same_sparsity
from orchestrator.selection.verdicts import Measured, percent
from orchestrator.vocabulary import Metric
from trials.arms import LOTUS

DROP, HALF, SMALL = 0.1, 0.5, 0.1
"""Patch drop, final sparsity and mask data fraction that the paper's claims are about."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for every claim.

    Attributes:
        curve: rows of the one-shot curve.
        spreads: the spread between seeds of every setting.
    """

    curve: pd.DataFrame
    settings: Sequence[Setting]
    spreads: Spreads
    columns: tuple[str, ...]
    tolerance: float
    confidence: float
    outcomes: Outcomes | None

    @property
    def recovery(self) -> list[str]:
        """The columns in which a dense model with equal fine-tuning must agree."""
        return [c for c in self.columns if c.startswith(("data.", "model.", "dense.", "finetune."))]

    def between(self, couple: "Couple") -> Measured | None:
        """Compare two settings, with the borrowed spread of the table of comparisons."""
        a, b, pairs = couple.a, couple.b, couple.pairs
        pair = Contrast(family="against_controls", a=a, b=b, of_a=FINAL, of_b=FINAL)
        return Measured.of(self.spreads.difference(pair, pairs), self.confidence)

    def owner(self, trials: Iterable[Row]) -> Setting:
        """The setting that most of the trials belong to."""
        keys = {id(row) for row in trials}
        return max(self.settings, key=lambda s: sum(id(r) in keys for r in s.first.values()))

    def to_own_dense(self, pairs: Sequence[Pair | None]) -> Measured | None:
        """Compare models with the dense ones they started from, using the spread of the pairs."""
        return Measured.of(difference([p for p in pairs if p is not None]), self.confidence)


@dataclass(frozen=True, slots=True)
class Couple:
    """What b loses against a, seed by seed; with `gain` of `best_couple`, what b gains."""

    a: Setting
    b: Setting
    pairs: tuple[Pair, ...]

    @property
    def words(self) -> str:
        """`97.0 % on test (lotus); `."""
        accuracy = percent(mean(list(self.b.first.values()), FINAL.accuracy))
        return f"{accuracy} on test ({self.b.arm}); "


def best_couple(
    t: Evidence,
    base: str,
    arm: str,
    same: Sequence[str],
    fits: Callable[[Setting], bool],
    gain: bool = False,
) -> Couple | None:
    """The settings of `base` and `arm` that agree in `same`: most seeds, then best validation.

    The pairs hold what `arm` loses against `base`; with `gain`, what it gains.
    """
    couples = []
    bases: dict[Point, list[Setting]] = {}
    for s in t.settings:
        if s.arm == base:
            bases.setdefault(point(s.axes, same), []).append(s)
    for b in (s for s in t.settings if s.arm == arm and fits(s)):
        for a in bases.get(point(b.axes, same), []):
            x, y = (b, a) if gain else (a, b)
            pairs = [between(x.first[seed], y.first[seed], FINAL, outcomes=t.outcomes)
                     for seed in a.seeds_with(b)]  # fmt: skip
            if measured := tuple(p for p in pairs if p is not None):
                couples.append(Couple(a, b, measured))
    # Test accuracy must not influence the choice.
    return min(couples, key=lambda c: (-len(c.pairs), preference(c.b)), default=None)


def by_attention(s: Setting) -> bool:
    """Whether a setting trains on tickets without 10 % of the patches."""
    row = _first(s)
    return _is(row["patch_drop"], DROP) and row["tickets.select"] in (None, "attention")


def default_reading(t: Evidence) -> Setting | None:
    """LOTUS with the default preset at a final sparsity of exactly one half."""
    fitting = [
        s for s in t.settings
        if s.arm == LOTUS and _first(s)[PRESET] in (None, "default") and finished(s)
        and _is(_first(s)["patch_drop"], DROP)
        and same_sparsity(reached_sparsity(s) or 0.0, HALF)
    ]  # fmt: skip
    return typical(fitting)


def small_data(s: Setting) -> bool:
    """Whether a setting's masks saw 10 % of the data, as in LOTUS."""
    return _is(_first(s)["mask_data_fraction"], SMALL)


def _is(value: Any, level: float) -> bool:
    return value is not None and abs(float(value) - level) <= 1e-9


def _first(s: Setting) -> Row:
    return next(iter(s.first.values()))


def pruned(s: Setting) -> list[Row]:
    """A setting's trials with an accuracy right after pruning."""
    return [r for r in s.first.values() if r[PRUNED.accuracy] is not None]


def finished(s: Setting) -> list[Row]:
    """A setting's trials with a final accuracy."""
    return [r for r in s.first.values() if r[FINAL.accuracy] is not None]


def reached_sparsity(s: Setting) -> float | None:
    """Sparsity of the prunable weights after ISSP, mean over the setting's trials."""
    return mean(list(s.first.values()), Metric.ISSP_SPARSITY)
