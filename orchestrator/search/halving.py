"""Successive halving on fine-tuning epochs, run asynchronously.

Every candidate is trained to the lowest rung, the best 1/reduction of them continue to the next,
and so on; the winner is run at the full budget, as the same trial that a grid would run.

There are two differences to ASHA (Li et al. 2020). In ASHA the *decision* is asynchronous too: what
is promoted depends on which results come first. Here ASHA's promotions, by which no device waits
for the slowest candidate, are only guesses. The decision is that of synchronous halving (Jamieson &
Talwalkar 2016) over complete rungs, so the winner depends on the results alone. Guesses that are
not confirmed have cost time and are left out of the sweep. And no stopped training is reported:
rungs only have a validation accuracy on whole images. Accuracy on the kept patches is measured for
winners alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.search.proposal import (
    RUNG_METRIC,
    Bench,
    Point,
    Proposed,
    ended,
    mean_over_seeds,
    with_seeds,
)
from orchestrator.search.space import Settings


def rungs(budget: int, min_epochs: int, reduction: int) -> tuple[int, ...]:
    """Epochs of each rung: min_epochs * reduction^k below the budget, ascending.

    >>> rungs(27, 1, 3)
    (1, 3, 9)
    """
    epochs_of_rungs = []
    epochs = min_epochs
    while epochs < budget:
        epochs_of_rungs.append(epochs)
        epochs *= reduction
    return tuple(epochs_of_rungs)


def survivors(count: int, reduction: int, winners: int) -> int:
    """How many of `count` continue from a rung: the top 1/reduction, but at least `winners`."""
    return min(count, max(winners, math.ceil(count / reduction)))


@dataclass(frozen=True)
class HalvingSearch:
    """`method: halving` on one block.

    Attributes:
        candidates: settings without their seed, in order; all seeds of a setting move together.
        budget: `finetune.epochs`.
    """

    candidates: tuple[Settings, ...]
    seeds: tuple[int, ...]
    budget: int
    min_epochs: int = 1
    reduction: int = 3
    winners: int = 1

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """Epochs of each rung."""
        return rungs(self.budget, self.min_epochs, self.reduction)

    @cached_property
    def _points(self) -> list[list[list[Point]]]:
        """[candidate][rung] -> a point per seed; the last "rung" is the full budget."""
        stops = [self.rungs[: k + 1] for k in range(len(self.rungs))]
        return [
            [with_seeds(setting, self.seeds, stop) for stop in (*stops, ())]
            for setting in self.candidates
        ]

    def propose(self, bench: Bench) -> Proposed:
        """The synchronous decisions as far as rungs are complete, then ASHA's guesses."""
        group = self._distinct(bench)
        points: list[Point] = []
        for level in range(len(self.rungs)):
            points += self._at(level, group)
            if not ended(self._at(level, group), bench):
                early = [p for p in self._guesses(level, group, bench) if p not in points]
                return Proposed(tuple(points), tuple(early), False, self._expected(bench))
            last = level == len(self.rungs) - 1
            count = survivors(len(group), self.reduction, self.winners)
            group = self._best(level, group, self.winners if last else count, bench)
        points += self._at(len(self.rungs), group)
        return Proposed(tuple(points), expected=len(points))

    def _at(self, level: int, group: Sequence[int]) -> list[Point]:
        return [point for i in group for point in self._points[i][level]]

    def _distinct(self, bench: Bench) -> list[int]:
        """Candidates, without those that mean the same trials as an earlier one."""
        seen: dict[tuple[str, ...], int] = {}
        for i, points in enumerate(self._points):
            seen.setdefault(tuple(bench.key(point) for point in points[-1]), i)
        return list(seen.values())

    def _best(self, level: int, group: Sequence[int], count: int, bench: Bench) -> list[int]:
        """The best of a group at a rung, without failed ones; ties and result in order."""
        means = {i: mean_over_seeds(self._points[i][level], RUNG_METRIC, bench) for i in group}
        ranked = sorted((i for i in group if means[i] is not None), key=lambda i: -(means[i] or 0))
        return sorted(ranked[:count])

    def _guesses(self, level: int, group: Sequence[int], bench: Bench) -> list[Point]:
        """ASHA: at each rung the top 1/reduction of those that have ended there, highest first.

        The last rung promotes nothing: only a certain winner gets a full training.
        """
        promoted: list[list[Point]] = []
        for k in range(level, len(self.rungs) - 1):
            done = [i for i in group if ended(self._points[i][k], bench)]
            group = self._best(k, done, len(done) // self.reduction, bench)
            promoted.insert(0, self._at(k + 1, group))
        return [point for points in promoted for point in points]

    def _expected(self, bench: Bench) -> int:
        count, total = len(self._distinct(bench)), 0
        for _ in self.rungs:
            total += count
            count = survivors(count, self.reduction, self.winners)
        return (total + min(self.winners, count)) * len(self.seeds)
