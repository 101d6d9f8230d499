"""How sweeps stand, once and until they have ended."""

from typing import Any

import pytest

from orchestrator.commands.watching import NO_SWEEP, counts, show_status, watch
from orchestrator.driver.interrupts import INTERRUPTS
from tests.orchestrator.commands.screens import log, said, screen


def row(finished: int, running: int = 0, failed: int = 0, **changes: Any) -> dict[str, Any]:
    """Of eight trials."""
    missing = 8 - finished - running - failed
    errors = {f"trial-{n}": "it broke" for n in range(failed)}
    counted = {"finished": finished, "running": running, "failed": failed, "missing": missing}
    return {"sweep": "s", "experiment": "s", "planned": 8, "errors": errors, **counted, **changes}


def test_what_is_none_is_left_out() -> None:
    assert counts(row(8)) == "8 of 8 trials finished"
    assert counts(row(3, 2, 1)) == "3 of 8 trials finished, 2 running, 1 failed, 2 missing"


def test_sweeps_are_shown_with_their_experiment_and_their_errors() -> None:
    console = log()
    show_status(console, [row(7, failed=1), row(8, experiment="[e]")])
    assert said(console) == (
        "s      7 of 8 trials finished, 1 failed\n"
        "[e]/s  8 of 8 trials finished\n"
        "  trial-0: it broke\n"
    )


def test_a_file_is_told_of_each_change_until_every_trial_has_ended() -> None:
    looks = iter([[row(0, planned=0)], [row(1, 1)], [row(1, 1)], [row(7, failed=1)]])
    console, slept = log(), list[float]()
    watch(console, lambda: next(looks), 2.0, slept.append)
    assert said(console).splitlines() == [
        "s  no run yet",
        "s  1 of 8 trials finished, 1 running, 6 missing",
        "s  7 of 8 trials finished, 1 failed",
    ]
    assert len(slept) == 3
    assert min(slept) >= 2.0


@pytest.mark.parametrize("width", [40, 200])
def test_a_screen_keeps_the_last_state_with_some_of_the_errors(width: int) -> None:
    looks = iter([[row(1, 3, now=["a", "b", "c"])], [row(0, failed=8)]])
    console = screen(width)
    watch(console, lambda: next(looks), 0.0, lambda _: None)
    assert "s  1 of 8 trials finished, 3 running" in said(console)
    assert "  now: a, b and 1 more" in said(console)
    last = said(console).rsplit("s  0 of 8", 1)[1]
    assert last.count("it broke") == 5
    assert "and 3 more" in last


def test_where_no_sweep_has_run_a_line_says_so_and_how_to_start_one() -> None:
    shown, watched, live = log(), log(), screen(80)
    show_status(shown, [])
    watch(watched, list, 0.0, lambda _: None)
    watch(live, list, 0.0, lambda _: None)
    assert said(shown) == said(watched) == f"{NO_SWEEP}\n"
    assert NO_SWEEP in said(live)


def test_an_interrupt_is_how_one_ends_it() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    console = log()
    watch(console, lambda: [row(1, 1)], 0.0, interrupted)
    assert said(console) == "s  1 of 8 trials finished, 1 running, 6 missing\n"
    assert not INTERRUPTS.owed
