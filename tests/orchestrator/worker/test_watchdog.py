"""A stage that hangs is told of, and its process ended."""

import threading
import time
from pathlib import Path

import pytest

from orchestrator.worker.watchdog import Hang, limited


def test_a_block_that_hangs_is_told_with_all_stacks_and_then_ended() -> None:
    told: list[tuple[str, str]] = []
    ended: list[int] = []
    woken = threading.Event()

    def tell(why: Hang, folder: Path) -> None:
        told.append((str(why), (folder / "failure/stacks.txt").read_text()))

    def end(code: int) -> None:
        ended.append(code)
        woken.set()

    with limited("dense", 0.2, tell, end):
        assert woken.wait(20), "it hangs here until the watchdog ends it"
    ((why, stacks),) = told
    assert ended == [1]
    assert why.startswith("dense: took longer than retry.stage_timeout_s = 0.2")
    assert "test_watchdog.py" in stacks


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_ends_even_when_nobody_can_be_told() -> None:
    woken = threading.Event()

    def broken(why: Hang, folder: Path) -> None:
        raise OSError("MLflow is away")

    with limited("dense", 0.05, broken, lambda code: woken.set()):
        assert woken.wait(20)


def test_a_block_that_ends_in_time_or_has_no_limit_is_left_alone() -> None:
    calls: list[object] = []
    for limit_s in (2.0, None):
        with limited("dense", limit_s, lambda *a: calls.append(a), calls.append):
            time.sleep(0.01)
        threads = [t.name for t in threading.enumerate()]
        assert "lotus-watchdog" not in threads
    time.sleep(2.3)
    assert calls == []


def test_an_error_of_the_block_comes_through() -> None:
    with pytest.raises(ZeroDivisionError), limited("dense", 5, lambda *a: None):
        raise ZeroDivisionError
