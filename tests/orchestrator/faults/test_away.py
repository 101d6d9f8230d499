"""A tracking server that is slow, refuses, or loses answers: MLflow shows the same in the end."""

import math
import threading
import time
from collections import Counter

import pytest

from orchestrator.tracking import patience
from orchestrator.tracking.pending import Pending
from orchestrator.tracking.runlog import PARAMS_PER_BATCH, RunLog
from orchestrator.tracking.runs import Identity
from tests.orchestrator.faults.conftest import Bench, Content, Fault, Proxy, Server, content_of

CREATE, BATCH, UPDATE = "runs/create", "runs/log-batch", "runs/update"
SEARCH, FILES, TAG = "runs/search", "mlflow-artifacts", "runs/set-tag"


def notes(made: Bench) -> dict[str, str]:
    """Key -> status of what is noted as owed."""
    found = Pending(made.here.store, made.here.settings.address.parent).all()
    return {key: note.status for key, note in found.items()}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", [429, 500, "lost", "refuse"], ids=str)
def test_a_fault_of_every_kind_of_request_changes_nothing(
    fault: Fault, bench: Bench, proxy: Proxy, undisturbed: Content
) -> None:
    made = bench
    met: dict[str, int] = {}

    def twice_each(method: str, path: str) -> Fault | None:
        kind = "artifact" if FILES in path else path
        met[kind] = met.get(kind, 0) + 1
        return fault if met[kind] <= 2 else None

    proxy.fault = twice_each
    made.run()
    proxy.behave()
    assert all(any(part in path for path in met) for part in (CREATE, BATCH, UPDATE, SEARCH))
    assert met["artifact"] > 2
    assert notes(made) == {}
    assert content_of(made.tracker) == undisturbed


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_create_whose_answer_is_lost_makes_no_second_run(
    fresh: bool, bench: Bench, proxy: Proxy
) -> None:
    made = bench
    made.here.fresh = fresh
    met = proxy.times("lost", 2, CREATE)
    made.run()
    assert len(met) == 2
    runs = made.tracker.tagged(view="all")  # deleted ones too
    assert len(runs) == 2
    assert {run.data.tags["lotus.attempts"] for run in runs} == {"1"}


def test_what_nobody_has_begun_before_takes_few_requests(
    bench: Bench, proxy: Proxy, undisturbed: Content
) -> None:
    made = bench
    made.here.fresh = True
    start = time.monotonic()
    made.run()
    flush_s = RunLog(made.here.tracker.client).flush_s
    early = int((time.monotonic() - start) // flush_s)  # what was sent before a run's end
    asked = Counter(path for _, path in proxy.asked if "/runs/" in path and FILES not in path)
    files = sum(FILES in path for _, path in proxy.asked)
    proxy.behave()
    assert content_of(made.tracker) == undisturbed
    counts = {path.rsplit("/", 1)[-1]: count for path, count in asked.items()}
    batches = sum(
        max(1, math.ceil(len(one["params"]) / PARAMS_PER_BATCH)) for one in undisturbed.values()
    )
    assert batches <= counts.pop("log-batch") <= batches + early
    # The sweep's own run is looked for, made and looked for again; then two runs, a file a request.
    assert counts == {"search": 2, "create": 1 + 2, "update": 2}
    assert files == sum(len(one["artifacts"]) for one in undisturbed.values())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_create_that_is_done_after_its_time_out_leaves_one_run(
    fresh: bool,
    bench: Bench,
    proxy: Proxy,
    undisturbed: Content,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = bench
    made.here.fresh = fresh
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    met = proxy.times(4.5, 1, CREATE)
    made.run()
    assert len(met) == 1
    deadline = time.monotonic() + 60
    while len(proxy.answered) < len(proxy.asked):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    again = made.again()  # whoever comes next sees both and keeps one
    again.run()
    assert content_of(made.tracker) == undisturbed


@pytest.mark.usefixtures("quick")
def test_attempts_are_counted_once_when_answers_are_lost(bench: Bench, proxy: Proxy) -> None:
    made = bench
    made.run()
    proxy.times("lost", 2, TAG)
    made.again().run()
    assert {run.data.tags["lotus.attempts"] for run in made.tracker.runs()} == {"2"}


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_killed_and_started_in_the_middle_of_a_trial_changes_nothing(
    bench: Bench, proxy: Proxy, server: Server, undisturbed: Content
) -> None:
    made = bench
    restarts: list[threading.Thread] = []

    def kill_at_batch(method: str, path: str) -> None:
        if BATCH in path and not restarts:
            server.kill()
            restarts.append(threading.Thread(target=server.start))
            restarts[0].start()

    proxy.fault = kill_at_batch
    made.run()
    restarts[0].join()
    proxy.behave()
    assert notes(made) == {}
    assert content_of(made.tracker) == undisturbed


@pytest.mark.usefixtures("impatient")
def test_what_a_server_that_is_gone_has_missed_is_delivered_by_the_next_run(
    bench: Bench, proxy: Proxy, undisturbed: Content
) -> None:
    made = bench
    proxy.close()
    made.run()  # no error: what was computed is kept
    assert set(notes(made).values()) == {"FINISHED"}
    assert len(notes(made)) == 2
    proxy.behave()
    assert content_of(made.tracker) == {}
    stored = made.here.store.keys()
    made.again().run()
    assert made.here.store.keys() == stored
    assert notes(made) == {}
    assert content_of(made.tracker) == undisturbed
    assert {run.data.tags["lotus.attempts"] for run in made.tracker.runs()} == {"2"}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("part", [BATCH, FILES, UPDATE])
def test_what_only_half_arrived_is_completed_by_the_next_run(
    part: str, bench: Bench, proxy: Proxy, undisturbed: Content
) -> None:
    made = bench
    met = proxy.times(503, 10**6, part)
    made.run()
    assert met
    assert len(notes(made)) == 2
    proxy.behave()
    made.again().run()
    assert notes(made) == {}
    assert content_of(made.tracker) == undisturbed


@pytest.mark.usefixtures("impatient")
def test_a_failure_that_could_not_be_told_is_noted_with_its_reason(
    bench: Bench, proxy: Proxy
) -> None:
    made = bench
    proxy.close()
    log = made.here.start(Identity("k" * 64, "trial", "x", {"lotus.arm": "lotus"}))
    log.flush(tags={"lotus.error": "ValueError: password=hidden"})
    log.finish("FAILED")
    note = Pending(made.here.store, made.here.settings.address.parent).get("k" * 64)
    assert note is not None
    assert (note.status, note.attempts, note.name) == ("FAILED", 1, "x")
    assert note.error == "ValueError: password=***"
    proxy.behave()
    made.again().here.start(Identity("k" * 64, "trial", "x")).finish()
    (run,) = made.tracker.runs()
    assert run.data.tags["lotus.attempts"] == "2", "the one that nobody heard of counts"


@pytest.mark.usefixtures("impatient")
def test_after_one_patience_every_item_costs_one_short_try_until_the_server_is_back(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 5.0)  # so that one and two are told apart
    made = bench
    proxy.close()
    start = time.monotonic()
    made.here.start(Identity("a", "trial", "a")).finish()
    assert 5 <= time.monotonic() - start < 10, "one patience"
    start = time.monotonic()
    for i in range(10):
        made.here.start(Identity(f"b{i}", "trial", "b")).finish()
    assert time.monotonic() - start < 10
    proxy.behave()
    made.here.start(Identity("c", "trial", "c")).finish()
    assert not made.here.tracker.breaker.tripped
    assert [child.key for child in made.tracker.children()] == ["c"]


@pytest.mark.usefixtures("quick")
def test_computing_does_not_wait_for_a_server_that_hangs(bench: Bench, proxy: Proxy) -> None:
    made = bench
    proxy.fault = lambda method, path: 6.0
    start = time.monotonic()
    log = made.here.start(Identity("k", "trial", "x"))
    log.flush_s = 0
    for step in range(1, 50):
        log.metrics({"loss": 1 / step}, step)
    log.flush({"lr": 0.1})
    assert time.monotonic() - start < 3
    proxy.behave()
    log.finish()
    assert len(log.client.get_metric_history(log.run_id, "loss")) == 49


def test_a_wrong_call_is_no_reason_to_wait_and_loses_nothing(bench: Bench) -> None:
    made = bench
    log = made.here.start(Identity("k", "trial", "x"))
    log.metrics({"x" * 1000: 1.0})  # a name that MLflow refuses
    start = time.monotonic()
    log.finish()
    assert time.monotonic() - start < patience.PATIENCE_S / 2
    assert log.undelivered
    assert notes(made) == {"k": "FINISHED"}


def test_a_run_whose_earlier_attempt_logged_other_values_is_replaced(bench: Bench) -> None:
    made = bench
    first = made.here.start(Identity("k", "trial", "x"))
    first.metrics({"loss": 1.0}, 1)
    first.finish("FAILED")
    again = made.here.start(Identity("k", "trial", "x"))
    again.metrics({"loss": 2.0}, 1)
    again.finish()
    assert again.undelivered is not None
    assert "loss = 1 at step 1, but now it is 2" in again.undelivered
    assert made.tracker.children() == []
    third = made.here.start(Identity("k", "trial", "x"))
    third.metrics({"loss": 2.0}, 1)
    third.finish()
    assert third.undelivered is None
    (run,) = made.tracker.runs()
    assert run.data.metrics == {"loss": 2.0}
    assert run.data.tags["lotus.attempts"] == "3"
