"""What is handed out, and what becomes of each item: without Ray, by whoever plays processes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.driver.batches import KNOWN
from orchestrator.driver.blame import Blame
from orchestrator.driver.deaths import KNOWN_S, Deaths
from orchestrator.driver.dispatcher import Dispatcher, Ended, Proposals
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.queue import Item
from orchestrator.driver.watcher import Watcher
from orchestrator.worker.failures import Attempts, of_ray
from tests.conftest import loaded_by

SHORT_S, LONG_S = 0.001, 100.0


@dataclass
class Told(Watcher):
    """Keeps what it was told."""

    ended_as: dict[str, str | None] = field(default_factory=dict)
    added_keys: list[str] = field(default_factory=list)
    started_keys: list[str] = field(default_factory=list)
    backs: list[str] = field(default_factory=list)
    agains: list[tuple[str, str]] = field(default_factory=list)
    rooms: list[tuple[int, int, bool]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)

    def scored(self, item: Item, accuracy: float) -> None:
        self.scores[item.key] = accuracy

    def added(self, item: Item) -> None:
        self.added_keys.append(item.key)

    def started(self, item: Item) -> None:
        self.started_keys.append(item.key)

    def room(self, at_once: int, running: int, pending: bool) -> None:
        self.rooms.append((at_once, running, pending))

    def back(self, item: Item) -> None:
        self.backs.append(item.key)

    def again(self, item: Item, reason: str) -> None:
        self.agains.append((item.key, reason))

    def ended(self, item: Item, error: str | None) -> None:
        assert item.key not in self.ended_as, "an item ends once"
        self.ended_as[item.key] = error

    def says(self, text: str) -> None:
        self.said.append(text)


class AJob:
    """As text it is nothing."""

    def text(self, base: Any) -> str:
        return "{}"


@dataclass
class AShare:
    """So many processes; keeps what it was asked."""

    processes: int = 2
    alone: bool = True
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def at_once(self) -> int:
        return self.processes

    def limit(self, busy: int, waiting: int) -> int:
        self.asked.append((busy, waiting))
        return self.processes


def well(**told: Any) -> dict[str, Any]:
    return {"error": None, "metrics": {}, "seconds": SHORT_S} | told


def badly(error: str, kind: str) -> dict[str, Any]:
    return {"error": error, "kind": kind, "seconds": 0}


def trial(key: str, *needs: str) -> Item:
    return Item(key=key, name=key, kind="trial", needs=needs)


def trials(count: int) -> list[Item]:
    return [trial(f"t{number}") for number in range(count)]


class Sweep:
    """A dispatcher, and processes, nodes and a clock that are played by the test."""

    def __init__(
        self, items: Sequence[Item], max_failures: int = 1, proposals: Proposals | None = None
    ) -> None:
        self.watcher, self.stop, self.share = Told(), Stop(), AShare()
        self.nodes, self.time = {"a", "b"}, 1000.0
        self.fell: list[tuple[str, str, str]] = []
        work: Any = [(item, AJob()) for item in items]
        share: Any = self.share
        self.dispatcher = Dispatcher(
            work,
            blame=Blame(Attempts(max_failures), Deaths(lambda: self.nodes, lambda: self.time)),
            share=share,
            stop=self.stop,
            watcher=self.watcher,
            proposals=proposals,
            fell=lambda item, root, error: self.fell.append((item.key, root, error)),
            seen=set(),
            common={},
        )

    def ask(self) -> tuple[int, list[str]]:
        """A process is free: its batch and the keys of that."""
        batch = self.dispatcher.next()
        assert batch is not None
        return batch.number, [order["key"] for order in batch.orders]

    def tell(self, number: int, *told: dict[str, Any]) -> None:
        """A process reports."""
        self.dispatcher.told(number, told)

    def die(self, number: int, node: str | None = None) -> None:
        """A process ends without a word."""
        self.dispatcher.died(number, of_ray(""), lambda: node)

    def later(self, seconds: float) -> None:
        """So much later something asks or tells."""
        self.time += seconds
        self.dispatcher.beat()

    def warm(self, seconds: float = SHORT_S) -> None:
        """The first ones, one by one."""
        for _ in range(KNOWN):
            number, keys = self.ask()
            assert len(keys) == 1
            self.tell(number, well(seconds=seconds))


def warmed(further: int, max_failures: int = 1, seconds: float = SHORT_S) -> Sweep:
    """A sweep of which it is known how long its items take, and so many of them left."""
    sweep = Sweep(trials(KNOWN + further), max_failures)
    sweep.warm(seconds)
    return sweep


def test_a_dispatcher_needs_no_ray() -> None:
    assert "ray" not in loaded_by("import orchestrator.driver.dispatcher")


def test_short_items_go_together_and_each_ends_as_it_ended() -> None:
    sweep = warmed(6)
    number, keys = sweep.ask()
    assert keys == ["t4", "t5", "t6"]
    sweep.tell(number, well(), badly("ValueError: x", "deterministic"), well())
    assert [sweep.watcher.ended_as[key] for key in keys] == [None, "ValueError: x", None]
    assert sweep.dispatcher.failed.errors == {"t5": "ValueError: x"}


def test_the_first_of_a_process_says_nothing_of_the_next() -> None:
    sweep = Sweep(trials(KNOWN + 6))
    for _ in range(KNOWN):
        number, _ = sweep.ask()
        sweep.tell(number, well(seconds=None))
    assert sweep.ask()[1] == ["t4"]


def test_long_items_go_one_by_one() -> None:
    assert warmed(6, seconds=LONG_S).ask()[1] == ["t4"]


def test_what_a_process_gives_back_goes_out_again_next_and_has_not_failed() -> None:
    sweep = warmed(6, max_failures=0)
    number, keys = sweep.ask()
    sweep.tell(number, well(seconds=LONG_S))
    assert sweep.watcher.backs == keys[1:] != []
    again = [sweep.ask() for _ in range(2)]
    assert [key for _, keys in again for key in keys] == ["t5", "t6"], "and by themselves now"
    for number, _ in again:
        sweep.tell(number, well())
    assert sweep.watcher.ended_as == dict.fromkeys([f"t{i}" for i in range(7)])


def test_when_a_process_dies_with_several_items_each_is_tried_again_by_itself() -> None:
    sweep = warmed(6, max_failures=0)
    number, keys = sweep.ask()
    sweep.die(number)
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
    number, keys = sweep.ask()
    assert keys == ["t6"]
    sweep.tell(number, well())
    assert sweep.ask()[1] == ["t7", "t8"], "others still go together"


def test_an_item_that_has_failed_before_is_alone() -> None:
    sweep = warmed(6)
    number, _ = sweep.ask()
    sweep.tell(number, well(), badly("OSError: x", "transient"), well())
    assert "t5" not in sweep.watcher.ended_as
    assert sweep.watcher.agains == [("t5", "OSError: x")]
    assert sweep.ask()[1] == ["t5"]


def test_an_item_is_given_up_when_it_has_failed_too_often() -> None:
    sweep = Sweep(trials(1), max_failures=1)
    sweep.tell(sweep.ask()[0], badly("OSError: x", "transient"))
    assert not sweep.watcher.ended_as
    sweep.tell(sweep.ask()[0], badly("OSError: y", "transient"))
    assert sweep.watcher.ended_as == {"t0": "OSError: y"}
    assert sweep.dispatcher.finished


def test_an_item_whose_memory_ran_out_gets_a_smaller_micro_batch() -> None:
    sweep = Sweep(trials(1))
    first = sweep.dispatcher.next()
    assert first is not None
    assert first.orders[0]["micro_batch"] is None
    sweep.tell(first.number, badly("OutOfMemoryError", "memory"))
    again = sweep.dispatcher.next()
    assert again is not None
    assert again.orders[0]["micro_batch"] == 256


def test_a_store_that_is_full_stops_the_sweep_and_fails_nothing() -> None:
    sweep = warmed(6)
    number, keys = sweep.ask()
    sweep.tell(number, badly("the store is full", "store"))
    assert sweep.stop.reason == "the store is full"
    assert not set(keys) & sweep.watcher.ended_as.keys()
    assert sweep.dispatcher.next() is None
    assert sweep.dispatcher.finished


@pytest.mark.parametrize("size", [1, 3])
def test_a_death_after_a_stop_is_nobodys_failure(size: int) -> None:
    sweep = warmed(2 * size, max_failures=0)
    number, keys = sweep.ask()
    assert len(keys) == size
    sweep.stop.ask("interrupted")
    sweep.die(number)
    assert not set(keys) & sweep.watcher.ended_as.keys()


def test_an_item_that_was_handed_out_before_may_have_a_run() -> None:
    sweep = warmed(6)
    given = sweep.dispatcher.next()
    assert given is not None
    assert [order["fresh"] for order in given.orders] == [True] * 3
    sweep.die(given.number)
    again = sweep.dispatcher.next()
    assert again is not None
    assert [order["fresh"] for order in again.orders] == [False]


def test_no_more_is_out_than_the_share_allows() -> None:
    sweep = Sweep(trials(4))
    (first, _), _ = sweep.ask(), sweep.ask()
    assert sweep.dispatcher.next() is None
    assert not sweep.dispatcher.finished
    assert sweep.share.asked[-1] == (2, 2), "so many are out, and so many wait"
    sweep.tell(first, well())
    assert sweep.ask()[1] == ["t2"]


@pytest.mark.parametrize(("alone", "processes", "gives"), [
    (True, 1, False), (False, 1, True), (False, 2, False),
])  # fmt: skip
def test_a_sweep_gives_way_at_its_share_when_others_are_there(
    alone: bool, processes: int, gives: bool
) -> None:
    sweep = Sweep(trials(4))
    sweep.ask()
    sweep.share.alone, sweep.share.processes = alone, processes
    assert sweep.dispatcher.gives_way is gives


def test_the_watcher_hears_of_processes_that_have_begun_and_of_those_that_are_waited_for() -> None:
    sweep = warmed(6)
    number, keys = sweep.ask()
    sweep.dispatcher.tell_room()
    sweep.dispatcher.begun(number)
    sweep.dispatcher.tell_room()
    assert sweep.watcher.rooms == [(2, 0, True), (2, 1, False)]
    assert sweep.watcher.started_keys == keys
    assert [item.key for item in sweep.dispatcher.items_of(number)] == keys


def test_the_note_on_the_board_counts_on_while_nobody_asks() -> None:
    sweep = Sweep(trials(2))
    sweep.dispatcher.beat()
    sweep.dispatcher.beat()
    assert sweep.share.asked == [(0, 2), (0, 2)]


def test_where_a_process_ran_is_asked_only_when_that_matters() -> None:
    asked: list[int] = []
    sweep = warmed(3)
    for reason in ("", "running low on memory"):
        number, _ = sweep.ask()
        sweep.dispatcher.died(number, of_ray(reason), lambda: asked.append(1))
    assert asked == []


def test_an_item_that_would_be_given_up_is_held_until_its_node_is_known_to_live() -> None:
    sweep = Sweep(trials(1), max_failures=0)
    sweep.die(sweep.ask()[0], node="a")
    assert not sweep.watcher.ended_as
    assert sweep.dispatcher.next() is None
    assert not sweep.dispatcher.finished
    sweep.later(KNOWN_S)
    assert sweep.watcher.ended_as == {"t0": "its process died"}
    assert sweep.dispatcher.finished


def test_an_item_that_was_held_runs_again_when_its_node_is_gone() -> None:
    sweep = Sweep(trials(1), max_failures=0)
    sweep.die(sweep.ask()[0], node="a")
    sweep.nodes = {"b"}
    sweep.later(2.0)
    assert sweep.watcher.agains == [("t0", "its node died")]
    sweep.tell(sweep.ask()[0], well())
    assert sweep.watcher.ended_as == {"t0": None}


def test_a_failure_is_forgiven_when_its_node_turns_out_to_be_gone() -> None:
    sweep = Sweep(trials(1), max_failures=1)
    sweep.die(sweep.ask()[0], node="a")
    assert sweep.watcher.agains == [("t0", "its process died")], "at once, whatever the reason was"
    sweep.nodes = {"b"}
    sweep.later(2.0)
    sweep.die(sweep.ask()[0])
    assert not sweep.watcher.ended_as, "this is its first failure"
    assert len(sweep.watcher.agains) == 2


def test_what_needs_a_failed_item_fails_with_it_and_names_where_it_began() -> None:
    sweep = Sweep([trial("a"), trial("b", "a"), trial("c", "b"), trial("d")])
    sweep.tell(sweep.ask()[0], badly("ValueError: x", "deterministic"))
    said = "a failed: ValueError: x"
    assert sweep.watcher.ended_as == {"a": "ValueError: x", "b": said, "c": said}
    assert sweep.fell == [("b", "a", said), ("c", "a", said)]
    assert sweep.dispatcher.failed.roots == {"b": "a", "c": "a"}


def test_what_ray_knows_of_a_death_is_kept_when_an_item_is_given_up() -> None:
    sweep = Sweep(trials(1), max_failures=0)
    number, _ = sweep.ask()
    sweep.dispatcher.died(number, of_ray("a worker died: SIGKILL"), lambda: None)
    assert sweep.dispatcher.failed.details == {"t0": "a worker died: SIGKILL"}


def test_the_accuracy_of_a_trial_is_told_where_it_has_one() -> None:
    sweep = Sweep(trials(2))
    sweep.tell(sweep.ask()[0], well(metrics={"final/deployed_val_accuracy": 0.5}))
    sweep.tell(sweep.ask()[0], well(metrics={"rung/val_accuracy": 0.9}))
    assert sweep.watcher.scores == {"t0": 0.5}
    assert list(sweep.watcher.ended_as) == ["t0", "t1"]


def test_what_results_call_for_is_queued_and_the_sweep_ends_when_nothing_is() -> None:
    heard: list[Ended] = []

    def proposals(ended: Sequence[Ended]) -> Any:
        heard.extend(ended)
        return [(trial("next"), AJob())] if len(heard) == 1 else []

    sweep = Sweep(trials(1), proposals=proposals)
    sweep.tell(sweep.ask()[0], well(metrics={"final/val_accuracy": 0.5}))
    assert sweep.watcher.added_keys == ["next"]
    assert not sweep.dispatcher.finished
    number, keys = sweep.ask()
    assert keys == ["next"]
    sweep.tell(number, well())
    assert [(one.item.key, one.error, dict(one.metrics)) for one in heard] == [
        ("t0", None, {"final/val_accuracy": 0.5}),
        ("next", None, {}),
    ]
    assert sweep.dispatcher.finished


def test_what_is_called_for_and_needs_a_failed_item_fails_at_once_and_is_told_of() -> None:
    heard: list[list[str]] = []

    def proposals(ended: Sequence[Ended]) -> Any:
        heard.append([one.item.key for one in ended])
        return [(trial("next", "t0"), AJob())] if len(heard) == 1 else []

    sweep = Sweep(trials(1), proposals=proposals)
    sweep.tell(sweep.ask()[0], badly("ValueError: x", "deterministic"))
    assert heard == [["t0"], ["next"]]
    assert sweep.watcher.ended_as["next"] == "t0 failed: ValueError: x"
    assert sweep.dispatcher.finished
