"""What passes between Tune and the dispatcher: words of one in those of the other, no decisions."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune.search import Searcher

from orchestrator.driver.callbacks import Starts, StopAll
from orchestrator.driver.dispatcher import Batch
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.searcher import Running, TuneSearcher
from orchestrator.worker.failures import Failure

ORDERS = [{"key": "t0"}, {"key": "t1"}]


@dataclass
class Scripted:
    """A dispatcher that gives what it is told to, and keeps what it hears."""

    batches: list[Batch] = field(default_factory=list)
    finished: bool = False
    heard: list[Any] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def next(self) -> Batch | None:
        return self.batches.pop(0) if self.batches else None

    def begun(self, number: int) -> None:
        self.heard.append(("begun", number))

    def told(self, number: int, told: Any) -> None:
        self.heard.append(("told", number, told))

    def died(self, number: int, failure: Failure, node: Any) -> None:
        self.heard.append(("died", number))
        self.failures.append(failure)

    def tell_room(self) -> None:
        self.heard.append("room")

    def beat(self) -> None:
        self.heard.append("beat")

    def __getstate__(self) -> Any:
        raise TypeError("a terminal cannot be pickled")


def searcher_of(dispatcher: Any) -> TuneSearcher:
    return TuneSearcher(dispatcher)


def a_trial(name: str, **of: Any) -> Any:
    """As Tune's."""
    temporary = SimpleNamespace(ray_actor=None)
    return SimpleNamespace(
        **{"trial_id": name, "ERROR": "ERROR", "status": "RUNNING", "error_file": None}
        | {"temporary_state": temporary}
        | of
    )


def test_a_batch_travels_as_text_and_its_end_comes_back_by_its_number() -> None:
    dispatcher = Scripted([Batch(7, ORDERS)])
    searcher = searcher_of(dispatcher)
    given: Any = searcher.suggest("x")
    assert given["number"] == 7
    assert json.loads(given["batch"]) == ORDERS
    searcher.on_trial_complete("x", {"told": json.dumps([{"error": None}])})
    assert dispatcher.heard == [("told", 7, [{"error": None}])]
    assert searcher.running == Running()


def test_nothing_now_and_nothing_ever_are_told_apart() -> None:
    dispatcher = Scripted()
    assert searcher_of(dispatcher).suggest("x") is None
    dispatcher.finished = True
    assert searcher_of(dispatcher).suggest("x") == Searcher.FINISHED


@pytest.mark.parametrize(("result", "error"), [(None, True), ({"told": "[]"}, True), ({}, False)])
def test_whoever_ends_without_a_word_has_died(result: Any, error: bool) -> None:
    """Also where Tune shows an older result of the process: it is used again."""
    dispatcher = Scripted([Batch(1, ORDERS)])
    searcher = searcher_of(dispatcher)
    searcher.suggest("x")
    searcher.on_trial_complete("x", result, error)
    assert dispatcher.heard == [("died", 1)]


def test_who_has_told_and_ends_with_an_error_has_told_all_the_same() -> None:
    """As a process does that can compute no more: Tune gives its error, and no result."""
    dispatcher = Scripted([Batch(7, ORDERS)])
    searcher = searcher_of(dispatcher)
    searcher.suggest("x")
    said = [{"error": None}, {"error": "CUDA error", "kind": "device"}]
    searcher.on_trial_result("x", {"told": json.dumps(said), "training_iteration": 1})
    searcher.on_trial_complete("x", None, error=True)
    assert dispatcher.heard == [("told", 7, said)]
    assert searcher.running == Running()


def test_what_ray_wrote_about_a_death_is_read(tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_text("the node was running low on memory")
    dispatcher = Scripted([Batch(1, ORDERS)])
    searcher = searcher_of(dispatcher)
    searcher.suggest("x")
    searcher.running.start(a_trial("x", error_file=str(file)))
    searcher.on_trial_complete("x", None, error=True)
    (failure,) = dispatcher.failures
    assert (failure.kind, failure.detail) == ("memory", "the node was running low on memory")


def test_a_trial_that_tune_gave_up_without_a_word_is_told_of() -> None:
    dispatcher = Scripted([Batch(1, ORDERS), Batch(2, ORDERS)])
    searcher = searcher_of(dispatcher)
    searcher.suggest("x")
    searcher.suggest("y")
    starts = Starts(searcher, lambda: dispatcher.heard.append("heard"))
    starts.on_trial_start(0, [], a_trial("y"))
    trials = [a_trial("old", status="ERROR"), a_trial("x", status="ERROR"), a_trial("y")]
    starts.on_step_begin(0, trials)
    assert dispatcher.heard == [("begun", 2), "room", "heard", "beat", ("died", 1)]
    assert searcher.running.batches == {"y": 2}


def test_tune_can_keep_its_searcher_and_callbacks_though_a_terminal_cannot_be_kept() -> None:
    dispatcher = Scripted([Batch(1, ORDERS)])
    searcher = searcher_of(dispatcher)
    searcher.suggest("x")
    with pytest.raises(TypeError, match="terminal"):
        cloudpickle.dumps(dispatcher)
    kept = cloudpickle.loads(cloudpickle.dumps(searcher))
    assert (kept.metric, kept.running) == ("told", Running())
    starts = cloudpickle.loads(cloudpickle.dumps(Starts(searcher, lambda: None)))
    starts.on_step_begin(0, [])
    cloudpickle.dumps(StopAll(Stop(), searcher.running))


def test_a_stop_ends_tunes_run() -> None:
    stop = Stop()
    ends = StopAll(stop, Running())
    assert not ends.stop_all()
    stop.ask("interrupted")
    assert ends.stop_all()
