"""What people see when a sweep has ended: the answer in a few lines, and where to look next."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from orchestrator.commands.progress import duration
from orchestrator.commands.terminal import show_line, show_pairs, show_text
from orchestrator.planning.plan import Plan
from orchestrator.secrets import without_password
from orchestrator.selection.short import short_answer
from orchestrator.tracking.pages import trials_page

if TYPE_CHECKING:
    from orchestrator.driver.driver import Finished

UI = "http://127.0.0.1:5000"
"""Where `lotus ui` serves unless told otherwise."""

WARNINGS = 2
"""How many are shown; the others are counted."""


FAILURES = 10
"""How many are named at the end; each was said as it happened, too."""


def trial_count(planned: Plan) -> str:
    """`12`, or `4 known (up to 12)` while results decide about the rest."""
    known = len(planned.trials)
    return str(known) if planned.complete else f"{known} known (up to {planned.expected})"


def show_finished(console: Console, finished: "Finished", *, ran: bool = True) -> None:
    """The end of a sweep in about eight lines.

    Args:
        ran: whether anything had to be made.
    """
    summary = finished.summary
    how = f"done in {duration(finished.wall_s)}" if ran else "nothing is missing"
    took = summary["cost"]["words"]
    show_text(console, f"{summary['sweep']}: {how}; {trials_words(summary['trials'])}; {took}")
    marked = [(Text("!", style="yellow"), Text(one, style="yellow")) for one in warned(finished)]
    show_pairs(console, [*answer_rows(summary), *marked])
    for label, text in places(finished):
        show_line(console, Text.assemble("  ", (f"{label:<6}", "bold"), f"  {text}"))


def answer_rows(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The answer, and where ISSP collapsed that it did."""
    for label, text in short_answer(summary).items():
        yield f"{label.capitalize():<6}", text
    if (diagnosis := summary.get("diagnosis")) and diagnosis["collapse"]:
        yield "ISSP", first_sentence(diagnosis["sentences"][0])


def trials_words(trials: dict[str, int]) -> str:
    """`58 of 60 trials finished, 1 failed`."""
    failed = f", {trials['failed']} failed" if trials["failed"] else ""
    return f"{trials['finished']} of {trials['planned']} trials finished{failed}"


def warned(finished: "Finished") -> Iterator[str]:
    """The first warnings, each by its first sentence; without a report also how many more."""
    warnings = finished.summary["warnings"]
    for warning in warnings[:WARNINGS]:
        yield first_sentence(warning)
    if not finished.report and (more := _more(warnings)):
        yield f"{more}: `lotus report` shows them"


def _more(warnings: list[str]) -> str:
    return _counted(max(0, len(warnings) - WARNINGS), "more warning")


def places(finished: "Finished") -> Iterator[tuple[str, str]]:
    """Where the report is, and how the MLflow UI is opened."""
    if finished.report:
        more = _more(finished.summary["warnings"])
        yield "Report", f"{finished.report}{f'   # with {more}' if more else ''}"
    shown = without_password(finished.plan.sweep.tracking.uri)
    base = shown if shown.startswith("http") else UI
    page = trials_page(base, finished.address.experiment_id, finished.address.parent)
    yield "MLflow", page if base == shown else f"{ui_command(shown)}   # then {page}"


def first_sentence(text: str) -> str:
    """Up to the first full stop that a new sentence follows."""
    return re.split(r"(?<=[.?!])\s+(?=[A-Z`])", text, maxsplit=1)[0]


def show_failed(console: Console, finished: "Finished") -> None:
    """What failed and why, where its log is, and how to run only that again."""
    stages = finished.failed_stages
    parts = [_counted(len(finished.failed) - stages, "trial"), _counted(stages, "shared stage")]
    show_line(console, f"{' and '.join(filter(None, parts))} failed:", "red")
    for name, reason in list(finished.failed.items())[:FAILURES]:
        first = (reason.splitlines() or [""])[0]
        show_text(console, f"  {name}: {first}")
        if name in finished.runs:
            where = f"    log and traceback: MLflow run {finished.runs[name]}, artifacts failure/"
            show_text(console, where)
    if (more := len(finished.failed) - FAILURES) > 0:
        show_text(console, f"  and {more} more, which `lotus status` lists")
    show_text(
        console,
        "Mend the cause and run the same command again: only these run. To give up on some, take "
        "them out of the search axes (--set search.AXIS=[...]).",
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}" if count else ""


def ui_command(uri: str) -> str:
    """How to open the MLflow UI on a store, as it can be typed in this shell."""
    if uri.startswith("http"):
        return uri
    here = Path(sys.argv[0])
    if here.is_relative_to(Path.cwd()):
        here = here.relative_to(Path.cwd())
    command = "lotus" if shutil.which("lotus") or here.name != "lotus" else str(here)
    return shlex.join([command, "ui", "--tracking-uri", uri])
