"""Batches between the queue and Tune: what is handed out, and what becomes of each item."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.driver.batches import KNOWN
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.queue import Item
from orchestrator.driver.searcher import Queue
from orchestrator.driver.watcher import Watcher
from orchestrator.worker.failures import Attempts

SHORT_S, LONG_S = 0.001, 100.0


@dataclass
class Told(Watcher):
    """Keeps what it was told."""

    ended_as: dict[str, str | None] = field(default_factory=dict)
    backs: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def back(self, item: Item) -> None:
        self.backs.append(item.key)

    def ended(self, item: Item, error: str | None) -> None:
        assert item.key not in self.ended_as, "an item ends once"
        self.ended_as[item.key] = error

    def says(self, text: str) -> None:
        self.said.append(text)


class AJob:
    """As text it is nothing."""

    def text(self, base: Any) -> str:
        return "{}"


class Two:
    """A share of two processes."""

    alone = True

    def limit(self, busy: int, waiting: int) -> int:
        return 2


def well(**told: Any) -> dict[str, Any]:
    return {"error": None, "metrics": {}, "seconds": SHORT_S} | told


class Sweep:
    """A queue of trials, and a Tune that is played by the test."""

    def __init__(self, count: int, max_failures: int = 1) -> None:
        items = [Item(key=f"t{i}", name=f"t{i}", kind="trial") for i in range(count)]
        self.watcher, self.stop, self.asked = Told(), Stop(), 0
        work: Any = [(item, AJob()) for item in items]
        share: Any = Two()
        attempts = Attempts(max_failures)
        self.queue = Queue(work, None, self.watcher, attempts, self.stop, share, set(), {})

    def ask(self) -> tuple[str, list[str]]:
        """Tune asks: its trial and the keys of the batch."""
        self.asked += 1
        name = f"trial{self.asked}"
        given = self.queue.suggest(name)
        assert isinstance(given, dict)
        return name, [one["key"] for one in json.loads(given["batch"])]

    def tell(self, name: str, *told: dict[str, Any]) -> None:
        """A process reports."""
        self.queue.on_trial_complete(name, {"told": json.dumps(told)})

    def die(self, name: str) -> None:
        """A process ends without a word."""
        self.queue.on_trial_complete(name, None, error=True)

    def warm(self, seconds: float = SHORT_S) -> None:
        """The first ones, one by one."""
        for _ in range(KNOWN):
            name, keys = self.ask()
            assert len(keys) == 1
            self.tell(name, well(seconds=seconds))


def test_short_items_go_together_and_each_ends_as_it_ended() -> None:
    sweep = Sweep(KNOWN + 6)
    sweep.warm()
    name, keys = sweep.ask()
    assert keys == ["t4", "t5", "t6"]
    sweep.tell(
        name, well(), {"error": "ValueError: x", "kind": "deterministic", "seconds": 0}, well()
    )
    assert [sweep.watcher.ended_as[key] for key in keys] == [None, "ValueError: x", None]
    assert sweep.queue.queue.errors == {"t5": "ValueError: x"}


def test_the_first_of_a_process_says_nothing_of_the_next() -> None:
    sweep = Sweep(KNOWN + 6)
    for _ in range(KNOWN):
        name, _ = sweep.ask()
        sweep.tell(name, well(seconds=None))
    assert sweep.ask()[1] == ["t4"]


def test_long_items_go_one_by_one() -> None:
    sweep = Sweep(KNOWN + 6)
    sweep.warm(LONG_S)
    assert sweep.ask()[1] == ["t4"]


def test_what_a_process_gives_back_goes_out_again_next_and_has_not_failed() -> None:
    sweep = Sweep(KNOWN + 6, max_failures=0)
    sweep.warm()
    name, keys = sweep.ask()
    sweep.tell(name, well(seconds=LONG_S))
    assert sweep.watcher.backs == keys[1:] != []
    again = [sweep.ask() for _ in range(2)]
    assert [key for _, keys in again for key in keys] == ["t5", "t6"], "and by themselves now"
    for name, _ in again:
        sweep.tell(name, well())
    assert sweep.watcher.ended_as == dict.fromkeys([f"t{i}" for i in range(7)])


def test_when_a_process_dies_with_several_items_each_is_tried_again_by_itself() -> None:
    sweep = Sweep(KNOWN + 6, max_failures=0)
    sweep.warm()
    name, keys = sweep.ask()
    sweep.die(name)
    assert not set(keys) & sweep.watcher.ended_as.keys(), "nobody knows which one it was"
    assert sweep.watcher.said == [
        "its process died with 3 short items; each is tried again by itself"
    ]
    alone = [sweep.ask() for _ in range(2)]
    assert [keys for _, keys in alone] == [["t4"], ["t5"]]
    sweep.die(alone[0][0])
    sweep.tell(alone[1][0], well())
    assert sweep.watcher.ended_as["t4"] == "its process died", "now it is known"
    assert sweep.watcher.ended_as["t5"] is None
    name, keys = sweep.ask()
    assert keys == ["t6"]
    sweep.tell(name, well())
    assert sweep.ask()[1] == ["t7", "t8"], "others still go together"


def test_an_item_that_has_failed_before_is_alone() -> None:
    sweep = Sweep(KNOWN + 6)
    sweep.warm()
    name, _ = sweep.ask()
    sweep.tell(name, well(), {"error": "OSError: x", "kind": "transient", "seconds": 0}, well())
    assert "t5" not in sweep.watcher.ended_as
    assert sweep.ask()[1] == ["t5"]


def test_a_store_that_is_full_stops_the_sweep_and_fails_nothing() -> None:
    sweep = Sweep(KNOWN + 6)
    sweep.warm()
    name, keys = sweep.ask()
    sweep.tell(name, {"error": "the store is full", "kind": "store", "seconds": 0})
    assert sweep.stop.reason == "the store is full"
    assert not set(keys) & sweep.watcher.ended_as.keys()
    assert sweep.queue.suggest("next") == "FINISHED"


@pytest.mark.parametrize("size", [1, 3])
def test_a_death_after_a_stop_is_nobodys_failure(size: int) -> None:
    sweep = Sweep(KNOWN + 2 * size, max_failures=0)
    sweep.warm()
    name, keys = sweep.ask()
    assert len(keys) == size
    sweep.stop.ask("interrupted")
    sweep.die(name)
    assert not set(keys) & sweep.watcher.ended_as.keys()


def test_an_item_that_was_handed_out_before_may_have_a_run() -> None:
    sweep = Sweep(KNOWN + 6)
    sweep.warm()
    given: Any = sweep.queue.suggest("x")
    assert [one["fresh"] for one in json.loads(given["batch"])] == [True] * 3
    sweep.die("x")
    again: Any = sweep.queue.suggest("y")
    assert [one["fresh"] for one in json.loads(again["batch"])] == [False]
