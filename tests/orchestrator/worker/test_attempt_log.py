"""The last lines of an attempt."""

import logging
import subprocess
import sys
import threading

from orchestrator.worker.attempt_log import KEPT_LINES, last_lines, recording


def test_logging_and_prints_of_all_threads_are_kept_in_order() -> None:
    with recording() as recorder:
        print("first")
        logging.getLogger("somewhere").warning("second %d", 2)
        thread = threading.Thread(target=print, args=("third",))
        thread.start()
        thread.join()
        print("err", file=sys.stderr)
        found = "\n".join(recorder.lines())
        assert last_lines() == recorder.lines()
    places = [found.index(word) for word in ("first", "second 2", "third", "err")]
    assert places == sorted(places)


def test_warnings_are_kept() -> None:
    """In a process of its own: pytest collects warnings before they are shown."""
    program = (
        "import warnings; from orchestrator.worker.attempt_log import recording\n"
        "with recording() as recorder: warnings.warn('odd masks')\n"
        "assert 'UserWarning: odd masks' in recorder.lines()[0], recorder.lines()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_only_the_last_lines_are_kept_and_only_of_the_attempt_that_runs() -> None:
    before = sys.stdout
    with recording():
        for number in range(KEPT_LINES + 50):
            print(number)
        kept = last_lines()
    assert sys.stdout is before
    assert [kept[0], kept[-1], len(kept)] == ["50", str(KEPT_LINES + 49), KEPT_LINES]
    assert last_lines() == []
    with recording():
        assert last_lines() == []
        print("again")
        assert last_lines() == ["again"]


def test_a_progress_bar_is_one_line_and_a_line_without_end_counts() -> None:
    with recording() as recorder:
        for percent in range(100):
            print(f"\r{percent} %", end="")
        assert recorder.lines() == ["99 %"]
        print()
        print("half", end="")
        assert recorder.lines() == ["99 %", "half"]
