"""Trials by state, as Prometheus is told."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from orchestrator import metrics
from orchestrator.driver.queue import Item
from orchestrator.driver.tally import STATES, Tally
from orchestrator.driver.watcher import Watcher
from orchestrator.metrics import Metric


class Gauges:
    """A sink that keeps the last value of every gauge and the sum of every counter."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def take(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        at = (metric.name, *labels.values())
        self.values[at] = value + (self.values.get(at, 0) if metric.kind == "counter" else 0)

    def trials(self) -> dict[str, float]:
        """Trials by state, those without any left out."""
        found = {state: self.values["lotus_trials", state] for state in STATES}
        return {state: number for state, number in found.items() if number}


class Told(Watcher):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def added(self, item: Item) -> None:
        self.said.append(f"added {item.name}")

    def begins(self, items: Sequence[Item], more: int) -> None:
        self.said.append(f"begins {len(items)} {more}")

    def room(self, at_once: int, running: int, pending: bool) -> None:
        self.said.append(f"room {at_once} {running} {pending}")

    def came(self, item: str, stage: str, fraction: float, at: float) -> None:
        self.said.append(f"came {item} {stage} {fraction} {at}")

    def took(self, item: Item, seconds: float) -> None:
        self.said.append(f"took {item.name} {seconds}")

    def started(self, item: Item) -> None:
        self.said.append(f"started {item.name}")

    def back(self, item: Item) -> None:
        self.said.append(f"back {item.name}")

    def again(self, item: Item, reason: str) -> None:
        self.said.append(f"again {item.name}: {reason}")

    def scored(self, item: Item, accuracy: float) -> None:
        self.said.append(f"scored {item.name} {accuracy}")

    def ended(self, item: Item, error: str | None) -> None:
        self.said.append(f"ended {item.name}: {error}")

    def tick(self) -> None:
        self.said.append("tick")


@pytest.fixture
def gauges() -> Iterator[Gauges]:
    """What Prometheus would show."""
    sink = Gauges()
    metrics.send_to(sink)
    yield sink
    metrics.send_to(None)


def trial(name: str) -> Item:
    return Item(key=name, name=name, kind="trial")


def tally(inner: Watcher | None = None) -> Tally:
    return Tally(inner or Watcher(), 6, {"trial": 3, "stage": 1}, {"trial": 2, "stage": 4})


def test_every_trial_is_in_exactly_one_state(gauges: Gauges) -> None:
    counted = tally()
    counted.show()
    assert gauges.trials() == {"waiting": 3, "finished": 2}
    assert gauges.values["lotus_trials_planned",] == 6
    counted.started(trial("a"))
    counted.started(trial("b"))
    assert gauges.trials() == {"waiting": 1, "running": 2, "finished": 2}
    counted.again(trial("a"), "its process died")
    assert gauges.trials() == {"waiting": 1, "running": 1, "retrying": 1, "finished": 2}
    counted.started(trial("a"))
    counted.ended(trial("a"), None)
    counted.ended(trial("b"), "ValueError: x")
    counted.ended(trial("c"), "dense failed")  # without having started
    assert gauges.trials() == {"finished": 3, "failed": 2}
    assert gauges.values["lotus_retries", "trial"] == 1
    assert gauges.values["lotus_shared_stages", "waiting"] == 1, "stages are counted apart"


def test_what_a_process_gives_back_waits_and_is_no_retry(gauges: Gauges) -> None:
    counted = tally()
    counted.show()
    counted.started(trial("a"))
    counted.back(trial("a"))
    assert gauges.trials() == {"waiting": 3, "finished": 2}
    assert ("lotus_retries", "trial") not in gauges.values


def test_a_trial_that_results_call_for_waits(gauges: Gauges) -> None:
    counted = tally()
    counted.show()
    counted.added(trial("new"))
    assert gauges.trials() == {"waiting": 4, "finished": 2}


def test_the_other_watcher_is_told_everything(gauges: Gauges) -> None:
    inner = Told()
    counted = tally(inner)
    counted.begins([trial("a")], 3)
    counted.added(trial("a"))
    counted.started(trial("a"))
    counted.room(2, 1, True)
    counted.came("a", "dense", 0.5, 7.0)
    counted.took(trial("a"), 1.5)
    counted.back(trial("a"))
    counted.again(trial("a"), "why")
    counted.scored(trial("a"), 0.9)
    counted.ended(trial("a"), None)
    counted.tick()
    told = ["begins 1 3", "added a", "started a", "room 2 1 True", "came a dense 0.5 7.0"]
    told += ["took a 1.5", "back a", "again a: why", "scored a 0.9", "ended a: None", "tick"]
    assert inner.said == told
    assert all(name in Tally.__dict__ for name in vars(Watcher) if not name.startswith("_"))
