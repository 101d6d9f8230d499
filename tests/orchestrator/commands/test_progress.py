"""Progress while a sweep works."""

from collections.abc import Iterator
from typing import Literal

import pytest
from rich.segment import Segment

from orchestrator.commands import progress
from orchestrator.commands.progress import Block, Display
from orchestrator.driver.queue import Item
from tests.orchestrator.commands.screens import Terminal, log, said, screen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one."""
    now = [0.0]
    monkeypatch.setattr(progress, "BEGAN", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (59.4, "59s"), (59.6, "1m00s"), (95, "1m35s"), (3600, "1h00m"), (9000, "2h30m")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def item(name: str, kind: Literal["stage", "trial"] = "trial", arm: str = "lotus") -> Item:
    """Something that runs, as the watcher is told of it."""
    return Item(key=name, name=name, kind=kind, arm=arm if kind == "trial" else "")


def test_failures_are_shown_at_once_and_literally() -> None:
    console = log()
    with Display(console, trials=2, stages=1) as display:
        display.ended(item("dense", "stage"), "[red]no[/red] memory [/]")
        for name in "ab":
            display.started(item(name))
        display.ended(item("a"), "[bold]broken[/nothing]")
        display.ended(item("b"), None)
    assert "dense failed: [red]no[/red] memory [/]" in said(console)
    assert "a failed: [bold]broken[/nothing]" in said(console)
    assert (display.done["trial"], display.failed) == (1, {"stage": 1, "trial": 1})


def test_an_attempt_that_failed_is_said_in_one_line_and_is_no_failure() -> None:
    console = log()
    display = Display(console, trials=1, stages=0)
    display.started(item("lotus-s0.30-d0.25-f0.50-seed0"))
    reason = "its process was ended because the node ran out of memory"
    display.again(item("lotus-s0.30-d0.25-f0.50-seed0"), reason)
    assert f"seed0: {reason}; it is tried again\n" in said(console)
    assert (display.failed.total(), display.running) == (0, {})


def test_progress_is_told_now_and_then(clock: list[float]) -> None:
    console = log()
    with Display(console, trials=4, stages=2) as display:
        stages = [item(name, "stage") for name in ("dense", "pretrained")]
        display.begins([*stages, *map(item, "abcd")], 0)
        display.room(2, 2, True)
        display.started(item("dense", "stage"))
        clock[0] = 11
        display.tick()
        assert "shared stages 0/2 · now: dense · 11s · estimating the time left" in said(console)
        display.tick()  # not again at once
        assert said(console).count("shared stages") == 1
        display.ended(item("dense", "stage"), None)
        display.ended(item("pretrained", "stage"), None)
        for name in "abc":
            display.started(item(name))
        display.took(item("a"), 20.0)
        display.ended(item("a"), None)
        clock[0] = 30
        display.tick()
    assert (
        "trials 1 done, 2 running, 0 failed of 4 · shared stages 2/2 · now: b, c · 30s · 26s left"
    ) in said(console)


def test_what_happens_after_the_last_trial_is_told_and_its_seconds_are_not_counted(
    clock: list[float],
) -> None:
    with Display(log(), trials=1, stages=0) as display:
        display.begins([item("a")], 0)
        assert "now: starting Ray" in display.line().plain
        display.started(item("a"))
        clock[0] = 9
        display.ended(item("a"), None)
        assert display.line().plain.endswith("now: reading the results · 9s · seconds left")


def test_the_best_pruned_model_is_told_beside_the_best_dense_one() -> None:
    display = Display(log(), trials=9, stages=0)
    assert "best" not in display.line().plain
    display.scored(item("random", arm="random_mask"), 0.99)
    display.scored(item("dense-1", arm="dense"), 0.95)
    assert "best" not in display.line().plain, "a control is no candidate, and dense is not pruned"
    for name, accuracy in (("a", 0.93), ("b", 0.94), ("c", 0.935)):
        display.scored(item(name), accuracy)
    assert "best 94.0 % on validation, b; dense: 95.0 %" in display.line().plain


def lines(display: Display, console: Terminal) -> Iterator[str]:
    """The live block as it stands on the screen."""
    for line in console.render_lines(Block(display), console.options, pad=False):
        yield "".join(one.text for one in Segment.strip_styles(line)).rstrip()


def busy(console: Terminal) -> Display:
    """In the middle of a sweep with long names."""
    display = Display(console, trials=20, stages=4)
    for name in "abcdefgh":
        display.ended(item(name), "it broke" if name == "h" else None)
    display.scored(item("lotus-s0.30-d0.25-f0.50-seed0"), 0.94)
    for number in range(4):
        display.started(item(f"lotus-s0.30-d0.25-f0.50-seed{number}"))
    display.left_s = 95.0
    return display


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_block_keeps_its_lines_on_any_screen(
    width: int, encoding: str, clock: list[float]
) -> None:
    console = screen(width, encoding)
    found = list(lines(busy(console), console))
    assert len(found) == 5
    assert max(map(len, found)) <= width
    assert found[1].startswith("  trials  7 of 20 ")
    if encoding == "ascii":
        assert "".join(found[1:]).isascii()
        assert "━" not in found[0]


def test_the_block_says_it_all_on_a_wide_screen(clock: list[float]) -> None:
    console = screen(200)
    bar, *others = lines(busy(console), console)
    assert bar.endswith("33 % · 0s · 1m35s left")
    assert "━" in bar
    assert others == [
        "  trials  7 of 20 done, 4 running, 1 failed",
        "  stages  0 of 4 shared stages done",
        "  best    94.0 % on validation, lotus-s0.30-d0.25-f0.50-seed0",
        "  now     lotus-s0.30-d0.25-f0.50-seed0, lotus-s0.30-d0.25-f0.50-seed1 and 2 more",
    ]


def test_without_colours_the_bar_shows_only_what_is_done(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Terminal(file=screen(80).file, width=80, force_terminal=True)
    shown = "\n".join(lines(busy(console), console))
    assert 0 < shown.count("━") < 20


def test_a_live_block_leaves_only_what_was_said(clock: list[float]) -> None:
    console = screen(80)
    with Display(console, trials=2, stages=0) as display:
        display.ended(item("a"), "it broke")
    raw = console.file.getvalue()  # type: ignore[attr-defined]
    assert "  a failed: it broke" in said(console)
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h") == 1, "the cursor is shown again"
    assert raw.rstrip().endswith("\x1b[2K"), "the block is wiped"


def test_the_block_is_drawn_from_one_moment_whatever_starts_and_ends_meanwhile() -> None:
    """Another thread draws it, and a dictionary must not change while it is looked through."""
    display = Display(log(), trials=3, stages=0)
    display.started(item("a"))
    seen = display._running()
    display.started(item("b"))
    assert seen == [item("a")]
    assert display._running() == [item("a"), item("b")]
