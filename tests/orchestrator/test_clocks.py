"""The wall clock jumps in the middle of a sweep; only what is shown to people may know it."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import load_sweep
from orchestrator.commands.status import of_sweep
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import forecast
from orchestrator.planning.plan import plan
from orchestrator.publishing.parent import parent_metrics
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, find_sweep, open_sweep

sys.path.insert(0, str(Path(__file__).parent))
from programs import Program, assert_as_if_undisturbed, copy_of, environment

pytestmark = pytest.mark.slow

DAY_S = 86400


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no program behind."""
    yield
    Program.end_all()


def test_a_clock_that_jumps_forward_and_back_in_a_sweep_changes_no_result(
    finished_sweep: Path, tmp_path: Path
) -> None:
    """A day forward while the dense model trains, two days back in a later stage; `lotus gc` runs
    beside it while everything looks a day old, and workers are killed before and after."""
    path, faults = copy_of(finished_sweep, tmp_path / "own"), tmp_path / "faults"
    faults.mkdir()
    for fault in ("dense.1.ahead", "dense.2.kill", "issp.1.behind", "finetune.1.kill"):
        (faults / fault).touch()
    clock = tmp_path / "clock"
    env = environment(faults, LOTUS_TEST_CLOCK=str(clock))
    program = Program.start(tmp_path / "log", "run", str(path), env=env)
    program.until(clock.exists)
    collected = Program.start(tmp_path / "gc", "gc", str(path), env=env)
    assert collected.wait() == 0, collected.said
    assert program.wait() == 0, program.said
    assert list(faults.iterdir()) == []
    assert clock.read_text() == str(-DAY_S)
    assert program.said.count("is tried again") == 2
    assert "Traceback" not in program.said
    seen = assert_as_if_undisturbed(path, finished_sweep)
    timed = {at: value for at, value in seen.values.items() if at[1].startswith(("time/", "cache"))}
    assert min(timed.values()) >= 0
    assert max(timed.values()) < DAY_S / 24
    assert_nothing_lasts_less_than_nothing(path)
    planned, entries = plan(load_sweep(path)), Store(str(path.parent / "store")).entries()
    assert forecast(planned, entries).device_hours == 0
    assert all(0 < entry.seconds < DAY_S / 24 for entry in entries), "what forecasts rest on"
    shown = of_sweep(load_sweep(path))
    assert (shown["finished"], shown["missing"]) == (3, 0)
    assert shown["store"]["freeable_bytes"] >= 0


def assert_nothing_lasts_less_than_nothing(path: Path) -> None:
    """Every run ends after its start, and all that is told of time is positive and plausible."""
    address = find_sweep(load_sweep(path))
    assert address is not None
    tracker = Tracker(address)
    parent = tracker.parent()
    runs = [parent, *tracker.runs()]
    lasted = [run.info.end_time - run.info.start_time for run in runs]
    assert min(lasted) >= 0
    starts = [run.info.start_time for run in runs]
    assert max(starts) - min(starts) > DAY_S * 1000, "the clock has jumped"
    cost = {k: v for k, v in parent.data.metrics.items() if k.startswith("cost/")}
    assert len(cost) == 2
    assert all(0 <= hours < 1 for hours in cost.values())
    assert 0 < float(parent.data.tags["lotus.wall_s"]) < DAY_S / 24
    summary = json.loads((path.parent / "reports/tiny/summary.json").read_text())
    assert summary["cost"]["device_hours"] == cost["cost/device_hours"]


def test_the_newest_numbers_of_a_sweep_are_shown_although_the_clock_was_set_back(
    tracked: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow shows the value at the largest step, so a step is no time."""
    address = open_sweep(tracked)
    tracker, real = Tracker(address), time.time
    cost = {"device_hours": 1.0, "device_hours_saved": 0.0}
    for finished, shift_s in ((1, 0), (2, -2 * DAY_S), (3, -3 * DAY_S), (4, 0)):
        monkeypatch.setattr(time, "time", lambda shift_s=shift_s: real() + shift_s)
        summary = {"essential_sparsity": None, "recommended": None, "cost": cost}
        log = tracker.sweep_log()
        parent_metrics(tracker, log, summary | {"trials": {"finished": finished, "failed": 0}})
        log.finish()
        parent = tracker.parent()
        assert parent.data.metrics["trials/finished"] == finished
        assert parent.info.end_time >= parent.info.start_time
    history = tracker.client.get_metric_history(address.parent, "trials/finished")
    assert sorted(point.step for point in history) == [1, 2, 3, 4]
    log = tracker.sweep_log()
    log.metrics({"trials/finished": 5.0}, 1_795_873_396)  # as an earlier version wrote it
    log.flush()
    parent_metrics(tracker, log, summary | {"trials": {"finished": 6, "failed": 0}})
    log.finish()
    assert tracker.parent().data.metrics["trials/finished"] == 6
