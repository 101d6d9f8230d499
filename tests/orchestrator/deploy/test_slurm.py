"""The launcher for Slurm, with real Rays and sweeps; only `srun` and `scontrol` are stand-ins here.

Slurm itself is not everywhere that tests run.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import ROOT, environment, look
from test_nodes import end, processes_with

from tests.warm.starting import programs_in

SCRIPT = ROOT / "orchestrator/deploy/slurm/lotus.sbatch"
BLOCKS = 1408

SRUN = """\
#!/bin/bash
while [[ $1 == -* ]]; do shift; done
export SLURM_NODEID=0
exec "$@"
"""
SCONTROL = '#!/bin/bash\necho "$@" >>"$SLURM_SUBMIT_DIR/scontrol-$SLURM_JOB_ID"\n'


def claim() -> str:
    """The program that claims ports, as it stands in the script."""
    found = re.search(r"^CLAIM='\n(.*?)^'", SCRIPT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def claimed(job: int) -> tuple[subprocess.Popen[str], int]:
    """A process that owns a block of ports, and the first of them."""
    command = [sys.executable, "-c", claim(), str(job)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@dataclass
class Job:
    """The launcher as a batch script of a one-node job."""

    folder: Path
    number: int
    process: subprocess.Popen[bytes]
    faults: Path

    @classmethod
    def start(cls, folder: Path, number: int, sweep: Path) -> "Job":
        faults = sweep.parent / "faults"
        env = environment(
            faults,
            PATH=f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            SLURM_JOB_ID=str(number),
            SLURM_SUBMIT_DIR=str(folder),
            SLURM_JOB_NUM_NODES="1",
            SLURM_CPUS_PER_TASK="1",
            LOTUS_NODE_IP="127.0.0.2",
            LOTUS_TEST_NODE=f"slurm {folder}",
        )
        with (folder / f"log-{number}").open("ab") as log:
            command = ["bash", str(SCRIPT), str(sweep), "--no-report"]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder)
        return cls(folder, number, process, faults)

    @property
    def said(self) -> str:
        return (self.folder / f"log-{self.number}").read_text("utf-8", errors="replace")

    @property
    def place(self) -> Path:
        return self.folder / f".lotus-{self.number}"

    def until_it_hangs(self) -> None:
        """Wait until the stage runs that would take an hour."""
        limit = time.monotonic() + 600
        while list(self.faults.iterdir()):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < limit, self.said
            time.sleep(0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where jobs are submitted from, with stand-ins for Slurm's programs, and ours forked."""
    programs_in(tmp_path / "bin", "ray", "lotus")
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        path = tmp_path / "bin" / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    yield tmp_path
    end(processes_with(LOTUS_TEST_NODE=f"slurm {tmp_path}"))


def sweep_in(folder: Path, text: str) -> Path:
    folder.mkdir()
    path = folder / "sweep.yaml"
    places = f"storage: {{path: {folder}/store}}\ntracking: {{uri: 'sqlite:///{folder}/m.db'}}\n"
    path.write_text(text + places, encoding="utf-8")
    (folder / "faults").mkdir()
    (folder / "faults/dense.1.hang").touch()
    return path


def test_shellcheck_has_nothing_to_say() -> None:
    tool = shutil.which("shellcheck")
    if tool is None:
        pytest.skip("no shellcheck here: `apt-get install shellcheck`")
    done = subprocess.run([tool, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_jobs_that_would_have_the_same_ports_get_others() -> None:
    first, base = claimed(700)  # above the ports of Ray's workers
    second, other = claimed(700 + BLOCKS)  # its search begins with the same block
    try:
        assert base >= 10000
        assert (base - 10000) % 16 == 0
        assert other >= base + 16 or other <= base - 16
    finally:
        for process in (first, second):
            process.kill()
            process.wait(10)
    third, again = claimed(700)
    third.kill()
    third.wait(10)
    assert again == base, "a block is free when its owner is gone"


def test_every_block_lies_below_the_ports_that_the_system_gives_out() -> None:
    process, base = claimed(BLOCKS - 1)
    process.kill()
    process.wait(10)
    assert base + 15 < 32768


@pytest.mark.parametrize(
    ("args", "number", "words"),
    [([], "1", "which sweep? sbatch lotus.sbatch my.yaml"), (["a.yaml"], "", "inside a Slurm job")],
)
def test_wrong_use_is_said(args: list[str], number: str, words: str, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": number, "SLURM_SUBMIT_DIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", str(SCRIPT), *args], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_jobs_share_a_node_and_one_is_ended_by_its_time_and_goes_on(
    folder: Path, tiny_text: str
) -> None:
    one, two = (sweep_in(folder / name, tiny_text) for name in ("one", "two"))
    first = Job.start(folder, 900, one)
    second = Job.start(folder, 900 + BLOCKS, two)
    first.until_it_hangs()
    assert "trials to run" in first.said
    token = first.place / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text()
    assert len(secret) == 64
    first.process.send_signal(signal.SIGUSR1)
    second.until_it_hangs()
    second.process.send_signal(signal.SIGTERM)
    addresses = {re.search(r"Ray at (\S+),", job.said)[1] for job in (first, second)}  # type: ignore[index]
    assert len(addresses) == 2
    assert first.process.wait(400) == 0, first.said
    assert (folder / "scontrol-900").read_text().split() == ["requeue", "900"]
    assert "the same command continues" in first.said
    assert not first.place.exists()
    again = Job.start(folder, 900, one)
    assert second.process.wait(400) == 130, second.said
    assert not (folder / f"scontrol-{900 + BLOCKS}").exists(), "nobody asked for more of it"
    assert again.process.wait(900) == 0, again.said
    assert set(look(one).statuses) == {"FINISHED"}
    assert secret not in first.said + second.said
    assert not list(folder.glob(".lotus-*"))
    assert not [number for number in (900, 900 + BLOCKS) if Path(f"/tmp/lotus-{number}").exists()]
    deadline = time.monotonic() + 120  # Ray's agents look for their raylet only now and then
    while processes_with(LOTUS_TEST_NODE=f"slurm {folder}") and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not processes_with(LOTUS_TEST_NODE=f"slurm {folder}")
