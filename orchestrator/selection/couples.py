"""What the claims are judged by: the settings of a sweep, and couples of them seed by seed."""

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
    """What every claim is judged by.

    Attributes:
        curve: rows of the one-shot curve.
        spreads: between seeds, of every setting.
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
        """What a dense model with equal fine-tuning must share."""
        return [c for c in self.columns if c.startswith(("data.", "model.", "dense.", "finetune."))]

    def between(self, couple: "Couple") -> Measured | None:
        """Two settings; the spread between seeds is borrowed as for the table of comparisons."""
        a, b, pairs = couple.a, couple.b, couple.pairs
        pair = Contrast(family="against_controls", a=a, b=b, of_a=FINAL, of_b=FINAL)
        return Measured.of(self.spreads.difference(pair, pairs), self.confidence)

    def owner(self, trials: Iterable[Row]) -> Setting:
        """The setting that most of the trials belong to."""
        keys = {id(row) for row in trials}
        return max(self.settings, key=lambda s: sum(id(r) in keys for r in s.first.values()))

    def to_own_dense(self, pairs: Sequence[Pair | None]) -> Measured | None:
        """Models against those that they started from: pairs with a spread of their own."""
        return Measured.of(difference([p for p in pairs if p is not None]), self.confidence)


@dataclass(frozen=True, slots=True)
class Couple:
    """What b loses against a, seed by seed (or has more than it, where said so)."""

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

    Pairs say what `arm` loses against `base`; with `gain`, what it has more.
    """
    found = []
    bases: dict[Point, list[Setting]] = {}
    for s in t.settings:
        if s.arm == base:
            bases.setdefault(point(s.axes, same), []).append(s)
    for b in (s for s in t.settings if s.arm == arm and fits(s)):
        for a in bases.get(point(b.axes, same), []):
            x, y = (b, a) if gain else (a, b)
            pairs = [between(x.first[seed], y.first[seed], FINAL, outcomes=t.outcomes)
                     for seed in a.seeds_with(b)]  # fmt: skip
            if known := tuple(p for p in pairs if p is not None):
                found.append(Couple(a, b, known))
    # The test accuracy chooses nothing.
    return min(found, key=lambda c: (-len(c.pairs), preference(c.b)), default=None)


def by_attention(s: Setting) -> bool:
    """Whether it trains on tickets without 10 % of the patches."""
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
    """Whether its masks saw 10 % of the data, as in LOTUS."""
    return _is(_first(s)["mask_data_fraction"], SMALL)


def _is(value: Any, level: float) -> bool:
    return value is not None and abs(float(value) - level) <= 1e-9


def _first(s: Setting) -> Row:
    return next(iter(s.first.values()))


def pruned(s: Setting) -> list[Row]:
    """Its trials that have an accuracy right after pruning."""
    return [r for r in s.first.values() if r[PRUNED.accuracy] is not None]


def finished(s: Setting) -> list[Row]:
    """Its trials that have an accuracy at the end."""
    return [r for r in s.first.values() if r[FINAL.accuracy] is not None]


def reached_sparsity(s: Setting) -> float | None:
    """Of the prunable weights after ISSP, mean over its trials."""
    return mean(list(s.first.values()), Metric.ISSP_SPARSITY)
