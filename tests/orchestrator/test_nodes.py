"""A cluster of two nodes on loopback: one has other versions and is refused, one is killed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import (
    FAULTY,
    ROOT,
    STAGES,
    Program,
    assert_as_if_undisturbed,
    copy_of,
    environment,
    free_port,
    look,
    ray_start,
)

from orchestrator.versions import versions
from tests.warm.starting import process_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no program behind."""
    yield
    Program.end_all()


def processes_with(**marks: str) -> list[psutil.Process]:
    """Living processes that have these variables in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if marks.items() <= process.environ().items():
                found.append(process)
        except psutil.Error:
            continue
    return found


def end(processes: list[psutil.Process]) -> None:
    """SIGKILL, as when the machine is gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=20)


@contextmanager
def node(mark: str, *args: str, **more: str) -> Iterator[list[str]]:
    """One Ray node; gives the environment marks by which its processes are known."""
    env = environment(LOTUS_TEST_NODE=mark)
    env |= {name: value for name, value in more.items() if name != "PYTHONPATH"}
    if "PYTHONPATH" in more:
        env["PYTHONPATH"] = os.pathsep.join([more["PYTHONPATH"], str(ROOT)])
    ray_start("--num-cpus=1", *args, env=env)
    try:
        yield [mark]
    finally:
        end(processes_with(LOTUS_TEST_NODE=mark))


def other_torch(folder: Path) -> Path:
    """A folder that makes Python believe in another torch when it stands first on its path."""
    info = folder / "torch-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    return folder


def test_other_versions_are_refused_before_anything_is_spent_and_a_dead_node_loses_nothing(
    finished_sweep: Path, tmp_path: Path
) -> None:
    path, address = copy_of(finished_sweep, tmp_path / "own"), f"127.0.0.1:{free_port()}"
    port = address.split(":")[1]
    here = ("--node-ip-address=127.0.0.1", "--include-dashboard=false")
    args = ("run", str(path), "--no-report", "--address", address)
    with node(f"head {tmp_path}", "--head", f"--port={port}", *here):
        wrong = str(other_torch(tmp_path / "wrong"))
        with node(f"wrong {tmp_path}", f"--address={address}", PYTHONPATH=wrong):
            refused = Program.start(tmp_path / "refused", *args)
            assert refused.wait() == 1
            assert "nodes have other versions than this driver" in refused.said
            assert f"torch 1.0.0 (driver: {versions()['torch']})" in refused.said
            assert "Traceback" not in refused.said
            assert look(path).keys == {}
            assert not (tmp_path / "own/store/index").exists()
        faults = tmp_path / "faults"
        faults.mkdir()
        for stage in STAGES:
            (faults / f"{stage}.1.hang").touch()
        hangs = {"PYTHONPATH": str(FAULTY), "LOTUS_TEST_FAULTS": str(faults)}
        with node(f"second {tmp_path}", f"--address={address}", **hangs):
            # A node that goes away is no failure of what ran there.
            program = Program.start(tmp_path / "log", *args, "--set", "retry.max_failures=0")
            program.until(lambda: len(list(faults.iterdir())) < len(STAGES))
            assert at_work(f"second {tmp_path}")
            end(processes_with(LOTUS_TEST_NODE=f"second {tmp_path}"))
            assert program.wait() == 0, program.said
    assert "died; it is tried again" in program.said
    assert "Traceback" not in program.said
    assert_as_if_undisturbed(path, finished_sweep)


def at_work(mark: str) -> bool:
    """Whether a process of a node runs an item."""
    for process in processes_with(LOTUS_TEST_NODE=mark):
        try:
            title = psutil.Process(process_of(process.pid)).cmdline()[0]
            if title.startswith("ray::ImplicitFunc.train"):
                return True
        except (psutil.Error, IndexError):
            continue
    return False
