"""What tests of search methods share: a bench without trainings, and a way to run on it."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.search.proposal import Outcome, Point, Proposed, Proposer

Truth = Callable[[Point], Outcome]


class FakeBench:
    """Knows how every trial would end; tells it once the trial has run."""

    def __init__(self, truth: Truth, key: Callable[[Point], str] = lambda p: p.ident) -> None:
        self.truth, self._key = truth, key
        self.known: dict[str, Outcome] = {}

    def key(self, point: Point) -> str:
        return self._key(point)

    def outcome(self, point: Point) -> Outcome | None:
        return self.known.get(self.key(point))

    def run(self, point: Point) -> None:
        assert self.key(point) not in self.known, f"{point} ran twice"
        self.known[self.key(point)] = self.truth(point)


def run_all(
    method: Proposer, bench: FakeBench, order: random.Random, slots: int = 1, most: int = 10_000
) -> tuple[Proposed, list[Point]]:
    """Run what is proposed, `slots` at a time, ending in a random order, until nothing is left.

    Guesses go first, as in a real sweep. Stops after `most` trials, as an interruption would.
    """
    running: list[Point] = []
    ran: list[Point] = []
    while True:
        found = method.propose(bench)
        waiting = {bench.key(p): p for p in (*found.early, *found.points)
                   if bench.outcome(p) is None and p not in running}  # fmt: skip
        running += list(waiting.values())[: slots - len(running)]
        if not running or len(ran) == most:
            return found, ran
        point = running.pop(order.randrange(len(running)))
        bench.run(point)
        ran.append(point)


@pytest.fixture(scope="session")
def fakes() -> Any:
    """`bench(truth)` and `run_all(method, bench, order, slots, most)`."""
    return SimpleNamespace(bench=FakeBench, run_all=run_all)
