"""How sweeps stand, in a line each, shown once or until everything has ended."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.commands.terminal import (
    can_be_written_over,
    show_line,
    show_pairs,
    show_text,
    some,
)
from orchestrator.driver.interrupts import INTERRUPTS

Row = Mapping[str, Any]
"""As `status.of_sweep` makes it."""

EVERY_S = 2.0
"""Between two looks, where looking costs nothing."""

SHARE = 10.0
"""Looking takes at most one part in this many of the time."""

NAMED = 2
"""How many of the runs that are running are named."""

NO_SWEEP = "No sweep has run yet. Start one: `lotus run digits`."

ERRORS = 5
"""How many are shown of each sweep while it is watched."""


def show_status(console: Console, rows: Sequence[Row]) -> None:
    """Counts of sweeps, and their errors."""
    if not rows:
        show_line(console, NO_SWEEP)
    show_pairs(console, [(_name(row), counts(row)) for row in rows], indent=0)
    for row in rows:
        for line in _errors(row):
            show_text(console, line)


def counts(row: Row) -> str:
    """`41 of 78 trials finished, 2 running, 1 failed, 34 missing`; what is none is left out."""
    if not row["planned"]:
        return "no run yet"
    parts = [f"{row['finished']} of {row['planned']} trials finished"]
    parts += [f"{row[state]} {state}" for state in ("running", "failed", "missing") if row[state]]
    return ", ".join(parts)


def watch(
    console: Console,
    look: Callable[[], Sequence[Row]],
    every_s: float = EVERY_S,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Show how sweeps stand until every trial of theirs has ended, or until Ctrl-C.

    Args:
        look: reads their rows.
    """
    live = Live(console=console, auto_refresh=False) if can_be_written_over(console) else None
    said: list[str] = []
    try:
        if live:
            live.start()
        while True:
            begun = time.monotonic()
            rows = look()
            took_s = time.monotonic() - begun
            if live:
                live.update(_block(rows), refresh=True)
            elif said != (told := [f"{_name(row)}  {counts(row)}" for row in rows] or [NO_SWEEP]):
                said = told
                for line in told:
                    show_line(console, line)
            if all(_ended(row) for row in rows):
                break
            sleep(max(every_s, SHARE * took_s))
    except KeyboardInterrupt:
        INTERRUPTS.taken()  # this is how one ends it
    finally:
        if live:
            live.stop()


def _ended(row: Row) -> bool:
    """Whether nothing will come; a sweep that has no run yet is waited for."""
    return bool(row["planned"]) and not row["running"] and not row["missing"]


def _block(rows: Sequence[Row]) -> RenderableType:
    lines = [] if rows else [Text(NO_SWEEP)]
    for row in rows:
        lines.append(Text.assemble((_name(row), "bold"), "  ", counts(row)))
        if now := row.get("now"):
            lines.append(Text(f"  now: {some(now, NAMED)}"))
        errors = list(_errors(row))
        lines += errors[:ERRORS]
        if (more := len(errors) - ERRORS) > 0:
            lines.append(Text(f"  and {more} more", style="red"))
    return Group(*lines)


def _name(row: Row) -> str:
    same = row["experiment"] == row["sweep"]
    return str(row["sweep"]) if same else f"{row['experiment']}/{row['sweep']}"


def _errors(row: Row) -> Iterator[Text]:
    for label, error in row["errors"].items():
        yield Text(f"  {label}: {error}", style="red")
