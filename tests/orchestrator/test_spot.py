"""Nodes that come and go: a trial runs where its resources are, and lost nodes cost no failures."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import FAULTY, Program, assert_as_if_undisturbed, copy_of, free_port
from test_nodes import at_work, end, node, processes_with

pytestmark = pytest.mark.slow


def test_work_waits_for_its_kind_of_node_and_survives_the_loss_of_it_without_a_failure(
    finished_sweep: Path, tmp_path: Path
) -> None:
    """GPUs and other devices are named by hand: Ray schedules by what it is told."""
    path, address = copy_of(finished_sweep, tmp_path / "own"), f"127.0.0.1:{free_port()}"
    port = address.split(":")[1]
    here = ("--node-ip-address=127.0.0.1", "--include-dashboard=false", "--num-gpus=2")
    lab = (f"--address={address}", '--resources={"lab": 1}')
    args = ("run", str(path), "--no-report", "--address", address, "--set", "retry.max_failures=0")
    with node(f"head {tmp_path}", "--head", f"--port={port}", *here):
        for i, (setting, said) in enumerate((
            ("custom={lab: 1}", "resources.custom.lab = 1, but no node has any lab"),
            ("gpu=3", "resources.gpu = 3, but the most on one node is 2"),
        )):  # fmt: skip
            name = setting.split("=", maxsplit=1)[0]
            refused = Program.start(tmp_path / f"no{i}", *args, "--set", f"resources.{setting}")
            assert refused.wait() == 1, name
            assert said in refused.said
            assert "no trial could ever start" in refused.said
        blind = Program.start(tmp_path / "blind", *args, "--set", "resources.gpu=1")
        assert blind.wait() == 1
        assert "Error: resources.gpu is set, but torch" in blind.said
        assert "sees no GPU on" in blind.said
        first, second = f"first {tmp_path}", f"second {tmp_path}"
        faults = tmp_path / "faults"
        faults.mkdir()
        (faults / "dense.1.hang").touch()
        hangs = {"PYTHONPATH": str(FAULTY), "LOTUS_TEST_FAULTS": str(faults)}
        with node(first, *lab, **hangs):
            program = Program.start(tmp_path / "log", *args, "--set", "resources.custom={lab: 1}")
            program.until(lambda: not list(faults.iterdir()))
            assert at_work(first)
            assert not at_work(f"head {tmp_path}"), "nothing runs where the resource is not"
            end(processes_with(LOTUS_TEST_NODE=first))
            program.until(lambda: "its node died; it is tried again" in program.said)
            with node(second, *lab):
                program.until(lambda: at_work(second) or program.process.poll() is not None)
                assert program.wait() == 0, program.said
    assert "Traceback" not in program.said
    assert_as_if_undisturbed(path, finished_sweep)
