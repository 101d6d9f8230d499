"""Processes that die, hang or are interrupted, for real; the results are those of a quiet run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import psutil
import pytest

from orchestrator import load_sweep, run
from orchestrator.driver import driver
from orchestrator.driver.watcher import Watcher
from orchestrator.tracking.lease import Lease, Timing
from orchestrator.tracking.tracker import Tracker, find_sweep

sys.path.insert(0, str(Path(__file__).parent))
from programs import REAL, STAGES, Program, assert_as_if_undisturbed, copy_of, environment, look

pytestmark = pytest.mark.slow

ONE_TRIAL = "search.arm=[lotus]"
ONE_WORKER = "resources.max_concurrent_trials=1"
"""For what need not be quick: each process takes seconds to import torch and timm."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no program behind."""
    yield
    Program.end_all()


def test_a_worker_killed_in_every_stage_and_one_that_hangs_change_no_result(
    finished_sweep: Path, tmp_path: Path
) -> None:
    """Each stage of one sweep is killed once; fine-tuning then hangs as well."""
    path, faults = copy_of(finished_sweep, tmp_path / "own"), tmp_path / "faults"
    faults.mkdir()
    for stage in STAGES:
        (faults / f"{stage}.1.kill").touch()
    (faults / "finetune.2.hang").touch()
    settings = ["retry.max_failures=30", "retry.stage_timeout_s=60"]
    args = [part for one in settings for part in ("--set", one)]
    program = Program.start(
        tmp_path / "log", "run", str(path), "--no-report", *args, env=environment(faults)
    )
    assert program.wait(1500) == 0, program.said
    assert list(faults.iterdir()) == []
    assert "Traceback" not in program.said
    assert program.said.count("is tried again") == len(STAGES) + 1
    seen = assert_as_if_undisturbed(path, finished_sweep)
    attempts = sum(int(tags["lotus.attempts"]) for tags in seen.tags.values())
    assert attempts >= len(seen.tags) + 1


def test_a_process_whose_gpu_has_reported_an_error_is_replaced_and_the_item_tried_again(
    finished_sweep: Path, tmp_path: Path
) -> None:
    """Every later stage of such a process fails too: one more attempt would not do."""
    path, faults = copy_of(finished_sweep, tmp_path / "own"), tmp_path / "faults"
    faults.mkdir()
    (faults / "finetune.1.device").touch()
    args = ("run", str(path), "--no-report", "--set", ONE_WORKER, "--set", "retry.max_failures=1")
    program = Program.start(tmp_path / "log", *args, env=environment(faults))
    assert program.wait() == 0, program.said
    assert program.said.count("it is tried again") == 1
    assert "CUDA error: device-side assert triggered; it is tried again" in program.said
    assert "Traceback" not in program.said
    assert_as_if_undisturbed(path, finished_sweep)


def test_a_second_driver_is_refused_and_a_killed_one_is_followed_at_once(
    finished_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, faults = copy_of(finished_sweep, tmp_path / "own"), tmp_path / "faults"
    faults.mkdir()
    (faults / "dense.1.hang").touch()
    run_it = ("run", str(path), "--no-report")
    first = Program.start(tmp_path / "1", *run_it, env=environment(faults), lotus=REAL)
    try:
        first.until(lambda: runs_a_hanging_stage(faults, path))
        second = Program.start(tmp_path / "2", *run_it)
        assert second.wait() == 1
        assert f"process {first.process.pid} on " in second.said
        assert "works on this sweep, last seen alive at" in second.said
        assert "Traceback" not in second.said
        assert first.process.poll() is None, "the second did not disturb the first"
    finally:
        first.kill()
    # On a busy machine a run begins late; for a driver that may live it would wait for longer.
    monkeypatch.setattr(driver, "Lease", partial(Lease, timing=Timing(gone_s=600)))
    started, begun = time.monotonic(), []

    def begins(*_: object) -> Watcher:
        begun.append(time.monotonic() - started)
        return Watcher()

    assert run(load_sweep(path, [ONE_WORKER]), report=False, watch=begins).failed == {}
    assert begun[0] < 300, "it waited for a driver that was gone"
    assert_as_if_undisturbed(path, finished_sweep)


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C", "Ctrl-C twice"])
def test_one_interrupt_ends_cleanly_and_two_at_once(
    how: str, finished_sweep: Path, tmp_path: Path
) -> None:
    """A stage that would take an hour holds it up; nothing waits for that stage."""
    path, faults = copy_of(finished_sweep, tmp_path / "own"), tmp_path / "faults"
    faults.mkdir()
    (faults / "dense.1.hang").touch()
    args = ("run", str(path), "--no-report", "--set", ONE_TRIAL)
    mark = f"of {tmp_path}"
    program = Program.start(tmp_path / "log", *args, env=environment(faults, LOTUS_TEST=mark))
    program.until(lambda: runs_a_hanging_stage(faults, path))
    twice = how == "Ctrl-C twice"
    program.interrupt(how)
    deadline = time.monotonic() + 120
    while twice and program.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)  # a signal that comes while an earlier one waits is lost
        program.interrupt(how)
    assert program.wait(200) == 130
    assert ("Ended at once." in program.said) == twice
    assert "Everything finished is kept; the same command continues" in program.said
    assert "Traceback" not in program.said
    seen = look(path)
    if not twice:
        assert "RUNNING" not in seen.statuses
        assert seen.statuses["FAILED"] >= 1
        assert "interrupted" in {tags.get("lotus.error") for tags in seen.tags.values()}
    deadline = time.monotonic() + 120
    while at_work(f"LOTUS_TEST={mark}") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert at_work(f"LOTUS_TEST={mark}") == []


def runs_a_hanging_stage(faults: Path, path: Path) -> bool:
    """Whether the only fault has happened and the run, which a thread makes, stands in MLflow."""
    return not list(faults.iterdir()) and "RUNNING" in look(path).statuses


def at_work(mark: str) -> list[str]:
    """Command lines of living processes of a Ray that have a variable in their environment.

    Its agents are left out: they hold nothing and look for their raylet only now and then. Of a
    forked process this is its client, which ends with it.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            title = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        ending = state == "Z" or not title  # the latter if it ended between these lines
        if mark.encode() in environ and not ending and "agent" not in title.lower():
            found.append(title)
    return found


EIGHT = ["search.seed=[0, 1, 2, 3, 4, 5, 6, 7]", "search.arm=[dense]", "dense.epochs=2"]


def test_eight_trials_stopped_at_random_moments_progress_monotonously_and_repeat_no_point(
    finished_sweep: Path, tmp_path: Path, ray_cluster: None
) -> None:
    """Ray's own test of `restore` asks for less: that the number of results does not fall.

    One process and one living cluster for all runs, as in a notebook.
    """
    path, random = copy_of(finished_sweep, tmp_path / "own"), Random(4)
    sweep = load_sweep(path, EIGHT)
    done: set[str] = set()
    points: Counter[tuple[str, str, int]] = Counter()
    stops = 0
    for _ in range(12):
        stopper = Stopper(
            look(path, EIGHT).finished, path, after=random.randint(3, 5), wait_s=random.random()
        )
        stopper.start()
        try:
            finished = run(sweep, report=False)
            stopper.done.set()
            stopper.join()  # its signal may still come
        except KeyboardInterrupt:
            stops += 1
            finished = None
            stopper.join()
        seen = look(path, EIGHT)
        assert done <= seen.finished, "what was finished stays so"
        assert seen.points.keys() >= {p for p in points if p[0] in done}
        assert set(seen.points.values()) <= {1}, "no point of a metric twice"
        assert set(seen.keys.values()) <= {1}, "no run twice"
        assert "RUNNING" not in seen.statuses
        done, points = seen.finished, seen.points
        if finished is not None:
            break
    assert finished is not None, "it never came to its end"
    assert stops >= 2
    assert finished.failed == {}
    assert seen.statuses == {"FINISHED": len(seen.keys)}
    trials = [key for key, tags in seen.tags.items() if tags["lotus.kind"] == "trial"]
    assert len(trials) == 8
    for key in trials:
        assert [p[2] for p in seen.points if p[:2] == (key, "finetune/val_loss")] == [1, 2]


class Stopper(threading.Thread):
    """Ctrl-C for this process, some time after a number of further runs have finished."""

    def __init__(self, before: set[str], path: Path, after: int, wait_s: float) -> None:
        super().__init__(daemon=True)
        self.before, self.path, self.after, self.wait_s = before, path, after, wait_s
        self.done = threading.Event()

    def run(self) -> None:
        tracker: Tracker | None = None
        while not self.done.wait(0.3):
            if tracker is None:
                if (address := find_sweep(load_sweep(self.path, EIGHT))) is None:
                    continue
                tracker = Tracker(address)
            ended = {child.key for child in tracker.children() if child.status == "FINISHED"}
            if len(ended - self.before) >= self.after:
                if not self.done.wait(self.wait_s):
                    os.kill(os.getpid(), signal.SIGINT)
                return


def test_a_worker_that_eats_all_memory_is_tried_again_with_fewer_images_at_a_time(
    finished_sweep: Path, tmp_path: Path
) -> None:
    """Ended by Ray's memory monitor, which is told of a limit that little is left of."""
    memory = psutil.virtual_memory()
    if memory.available < 14 * 2**30:
        pytest.skip("less than 14 GiB of memory are free")
    path, faults = copy_of(finished_sweep, tmp_path / "own"), tmp_path / "faults"
    faults.mkdir()
    (faults / "profile.1.eat").touch()
    # What is left is for other tests as well.
    limit = 1 - (memory.available - 7 * 2**30) / memory.total
    env = environment(
        faults, RAY_memory_usage_threshold=f"{limit:.3f}", RAY_memory_monitor_refresh_ms="100"
    )
    args = ("run", str(path), "--no-report", "--set", ONE_TRIAL, "--set", "retry.max_failures=10")
    program = Program.start(tmp_path / "log", *args, env=env, lotus=REAL)
    assert program.wait() == 0, program.said
    assert "ended because the node ran out of memory; it is tried again" in program.said
    seen = look(path)
    assert seen.statuses == {"FINISHED": len(seen.keys)}
    trials = [tags for tags in seen.tags.values() if tags["lotus.kind"] == "trial"]
    (images,) = {int(tags["lotus.micro_batch"]) for tags in trials}
    assert images in (256, 128, 64, 32), "halved; again where others use up the memory meanwhile"


def test_a_full_store_stops_the_sweep_in_words_and_with_more_space_it_goes_on(
    finished_sweep: Path, tmp_path: Path
) -> None:
    path = copy_of(finished_sweep, tmp_path / "own")
    store = tmp_path / "own/store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "lotus-test", str(store)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        args = ("run", str(path), "--no-report", "--set", ONE_WORKER)
        program = Program.start(tmp_path / "full", *args)
        assert program.wait() == 1
        assert f"Error: the store, storage.path = {store}, is full: free space" in program.said
        assert "the same command continues" in program.said
        assert "Traceback" not in program.said
        assert "RUNNING" not in look(path).statuses
        larger = ["mount", "-o", "remount,size=64m", str(store)]
        subprocess.run(larger, check=True)
        assert run(load_sweep(path, [ONE_WORKER]), report=False).failed == {}
        assert_as_if_undisturbed(path, finished_sweep)
    finally:
        subprocess.run(["umount", "--lazy", str(store)], check=True)
