"""Signals at the moments in which Python loses an exception, and closed terminals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.driver.interrupts import INTERRUPTED, Interrupts, Stop

ROOT = Path(__file__).parents[3]

PLACES = {
    "a callback of the garbage collector": """
def called(phase, info):
    gc.callbacks.remove(called)
    fall()
gc.callbacks.append(called)
gc.collect()
""",
    "a finalizer": """
class Falls:
    def __del__(self):
        fall()
Falls()
""",
    "a callback of a weak reference": """
class Dies: pass
one = Dies()
seen = weakref.ref(one, lambda _: fall())
del one
""",
    "the `except:` of a library": """
try:
    fall()
except:
    pass
""",
    "two finalizers, one after the other": """
class Falls:
    def __del__(self):
        fall()
class Waits:
    def __del__(self):
        time.sleep(0.3)
Falls()
Waits()
""",
}

START = """
import gc, os, signal, sys, time, weakref
from orchestrator.driver.interrupts import INTERRUPTS, Stop
INTERRUPTS.install(exits=True)
INTERRUPTS.raise_what_python_swallows()
def fall():
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    for _ in range(1000):
        pass
"""


def run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A Python program of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_is_not_lost_in(place: str, name: str) -> None:
    """Nor does Python tell of an exception that it ignores."""
    then = """
try:
    for _ in range(20):
        time.sleep(0.1)
        if "library" in sys.argv[2]:
            INTERRUPTS.check()
    print("it went on")
except KeyboardInterrupt:
    INTERRUPTS.taken()
    time.sleep(0.3)
    print("it ended")
"""
    body = PLACES[place]
    wrapped = "try:\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
    wrapped += "except KeyboardInterrupt:\n    print('it ended')\n    sys.exit()\n"
    done = run(START + wrapped + then, name, place)
    assert (done.stdout, done.stderr) == ("it ended\n", "")


def test_a_sweep_does_not_begin_when_a_signal_was_lost_before_it() -> None:
    """Whatever has swallowed it: the work that follows does not start."""
    program = """
try:
    fall()
except:
    pass
with INTERRUPTS.told_to(Stop()):
    print("it began")
"""
    done = run(START + program, "SIGINT")
    assert done.stdout == ""
    assert "KeyboardInterrupt" in done.stderr


def test_a_signal_that_comes_too_late_for_the_sweep_to_see_is_not_lost() -> None:
    """As while Ray ends: the sweep asks `stop` no more."""
    interrupts, stop = Interrupts(), Stop()

    def end() -> None:
        with interrupts.told_to(stop):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        end()
    assert stop.reason == INTERRUPTED


def test_a_closed_terminal_is_heard_once_however_often_it_is_told() -> None:
    """Kernel, shell and session manager each send it, and SIGTERM beside it."""
    program = """
stop = Stop()
with INTERRUPTS.told_to(stop):
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
        time.sleep(0.05)
    print(stop.reason, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    print("it does not end at once")
"""
    done = run(START + program, "-")
    assert done.stdout == "interrupted\n"
    assert "Ended at once" in done.stderr
    assert done.returncode == 130


@pytest.fixture
def closed_terminals_are_ignored() -> Iterator[None]:
    """As `nohup` starts a program."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("closed_terminals_are_ignored")
def test_who_is_started_to_survive_a_closed_terminal_does() -> None:
    stop = Stop()
    with Interrupts().told_to(stop):
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.05)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert stop.reason is None
