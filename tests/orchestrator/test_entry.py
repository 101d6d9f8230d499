"""How the program begins and ends: no word of a library, and no signal that is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.driver.interrupts import ENDED

ROOT = Path(__file__).parents[2]

NOISY = """
import atexit, os, signal, sys
import triton._C.libtriton  # its binding library counts at the end what is left over
import gc
held = sys.modules["triton._C.libtriton"]
gc.callbacks.append(lambda *_: held)  # somebody holds it still, as frozen garbage does
sys.argv = ["lotus", *sys.argv[1:]]
"""

PLAIN_END = NOISY + "gc.freeze()"

OURS = (
    NOISY
    + """
import threading
gc.freeze()
from orchestrator import cli, entry
command = cli.cli.main
def called(**options):
    atexit.register(lambda: print("others end first"))
    if sys.argv[1] == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
    if sys.argv[1] == "raises":
        raise LookupError("nobody has foreseen this")
    return command(**options)
cli.cli.main = called
threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
entry.main()
"""
)


def run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A Python program of its own."""
    command = [sys.executable, "-c", program, *args]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_library_that_is_noisy_at_the_end_is_so_without_us() -> None:
    pytest.importorskip("triton._C.libtriton")
    assert "nanobind: leaked" in run(PLAIN_END).stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--version",), 0, ""),
        (("plan", "no-such-sweep"), 2, "no-such-sweep: 1 problem"),
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("ui", "--tracking-uri", "sqlite:////nowhere/mlflow.db"), 1, "no sweep has run there"),
        (("interrupted",), 130, ENDED),
        (("raises",), 1, "LookupError: nobody has foreseen this"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_no_library_has_the_last_word(args: tuple[str, ...], code: int, said: str) -> None:
    """Whatever ends the program and is left over then; what others do at the end is done."""
    pytest.importorskip("triton._C.libtriton")
    done = run(OURS, *args)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "nanobind" not in done.stderr
    assert done.stdout.splitlines()[-1] == "others end first"


def test_the_plan_of_a_sweep_whose_model_is_asked_for_ends_without_a_word(tmp_path: Path) -> None:
    """The first plan imports torch and timm, and keeps all it has made from the collector."""
    from tests.conftest import tiny_sweep

    done = subprocess.run(
        [str(Path(sys.executable).parent / "lotus"), "plan", str(tiny_sweep(tmp_path))],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "lotus-sweep").is_dir(), "the model was asked for"


def test_a_signal_while_the_program_begins_ends_it_in_one_line() -> None:
    """Most of the start is imports, at which a library may make another error of it."""
    program = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "yaml":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            except KeyboardInterrupt:
                raise ImportError("interrupted, as numpy says it")
sys.meta_path.insert(0, Interrupts())
from orchestrator.entry import main
sys.argv = ["lotus", "list"]
main()
"""
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{ENDED}\n")


def test_a_signal_that_everybody_swallows_is_the_end_of_the_command() -> None:
    program = """
import os, signal, sys
from orchestrator import cli, entry
def swallows(**_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000): pass
    except BaseException: pass
cli.cli.main = swallows
entry.main()
"""
    done = run(program)
    assert (done.returncode, done.stderr) == (130, f"{ENDED}\n")


def test_a_signal_at_the_very_end_changes_no_result() -> None:
    """The work is done; Ctrl-C only makes the end of a slow library quicker."""
    program = """
import atexit, os, signal, sys, time
from orchestrator import cli, entry
def slow():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
cli.cli.main = lambda **_: atexit.register(slow) and 0
entry.main()
"""
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")
