"""What people see in the terminal: progress while a sweep works, tables when it has ended."""

import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.commands.terminal import can_be_written_over
from orchestrator.driver.driver import Finished
from orchestrator.driver.queue import Item
from orchestrator.driver.timeleft import Countdown, TimeLeft
from orchestrator.driver.watcher import Watcher
from orchestrator.planning.plan import Plan
from orchestrator.secrets import without_password
from orchestrator.selection.answer import model_words

UI = "http://127.0.0.1:5000"
"""Where `lotus ui` serves unless told otherwise."""

SOON_S = 10.0
"""Less than this is not told to the second."""

ESTIMATE_S = 1.0
"""Between two estimates of the time left, where making one costs nothing."""

BEGAN = time.monotonic()
"""When this module was imported: as a command begins to work."""

QUIET_S = 10.0
"""Without a terminal, a line of progress this often."""


def duration(seconds: float) -> str:
    """95 -> `1m35s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def trial_count(planned: Plan) -> str:
    """`12`, or `4 known (up to 12)` while results decide about the rest."""
    known = len(planned.trials)
    return str(known) if planned.complete else f"{known} known (up to {planned.expected})"


class Display(Watcher):
    """Progress of one run: a live line in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, trials: int, stages: int) -> None:
        self.console = console
        self.total = {"trial": trials, "stage": stages}
        self.done: Counter[str] = Counter()
        self.failed = 0
        self.running: dict[str, Item] = {}
        self.start = self.said = time.monotonic()
        self.is_live = can_be_written_over(console)
        self.time_left, self.countdown = TimeLeft(), Countdown()
        self.left_s: float | None = None
        self.estimate_at = self.start
        self.live = Live(self._line(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Display":
        if self.is_live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_live:
            self.live.stop()

    def begins(self, items: Sequence[Item], more: int) -> None:
        self.time_left.begins(time.monotonic() - BEGAN)
        self.time_left.more = more
        for item in items:
            self.time_left.add(item)

    def added(self, item: Item) -> None:
        self.total[item.kind] += 1
        self.time_left.add(item)
        self.time_left.more = max(0, self.time_left.more - (item.kind == "trial"))

    def started(self, item: Item) -> None:
        self.running[item.key] = item
        self.time_left.started(item.key, time.monotonic())
        self.tick()

    def room(self, at_once: int, running: int, pending: bool) -> None:
        self.time_left.room(at_once, running, pending, time.monotonic())

    def came(self, item: str, stage: str, fraction: float, at: float) -> None:
        self.time_left.came(item, stage, fraction, at, time.monotonic())

    def took(self, item: Item, seconds: float) -> None:
        self.time_left.took(item.key, seconds)

    def back(self, item: Item) -> None:
        self.running.pop(item.key, None)
        self.time_left.waits(item.key)
        self.tick()

    def again(self, item: Item, reason: str) -> None:
        self.running.pop(item.key, None)
        self.time_left.waits(item.key)
        said = Text(f"  {item.name}: {reason}; it is tried again", style="yellow")
        self.console.print(said, soft_wrap=True)
        self.tick()

    def says(self, text: str) -> None:
        self.console.print(Text(f"  {text}", style="yellow"), soft_wrap=True)

    def ended(self, item: Item, error: str | None) -> None:
        self.running.pop(item.key, None)
        self.time_left.ended(item.key)
        if error:
            self.failed += item.kind == "trial"
            self.console.print(Text(f"  {item.name} failed: {error}", style="red"))
        else:
            self.done[item.kind] += 1
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        self._estimate(now)
        if self.is_live:
            self.live.update(self._line())
        elif now - self.said >= QUIET_S:
            self.said = now
            self.console.print(self._line(), soft_wrap=True)

    def _line(self) -> Text:
        running = [item.name for item in self.running.values()]
        trials = sum(item.kind == "trial" for item in self.running.values())
        parts = [
            f"trials {self.done['trial']} done, {trials} running, {self.failed} failed "
            f"of {self.total['trial']}",
            f"shared stages {self.done['stage']}/{self.total['stage']}",
            f"now: {', '.join(running[:2]) or self._between()}",
            duration(time.monotonic() - self.start),
            self._left(),
        ]
        return Text("  " + " · ".join(parts))

    def _between(self) -> str:
        """What happens while nothing runs."""
        ended = self.done.total() + self.failed
        if not ended:
            return "starting Ray"
        return "waiting" if ended < sum(self.total.values()) else "reading the results"

    def _estimate(self, now: float) -> None:
        """Estimate the time left anew, if it is time to."""
        if now < self.estimate_at:
            return
        begun = time.perf_counter()
        self.left_s = self.countdown.shown(self.time_left.left(now), now)
        # Of ten thousand items an estimate takes a tenth of a second.
        self.estimate_at = now + max(ESTIMATE_S, 30.0 * (time.perf_counter() - begun))

    def _left(self) -> str:
        if self.left_s is None:
            return "estimating the time left"
        return f"{duration(self.left_s)} left" if self.left_s >= SOON_S else "seconds left"


def show_finished(console: Console, finished: Finished) -> None:
    """The table at the end of a sweep, and where to look next."""
    summary = finished.summary
    table = Table(title=Text(summary["sweep"]), title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(summary):
        table.add_row(name, Text(value))
    console.print(table)
    for warning in summary["warnings"]:
        console.print(Text(f"  ! {warning}", style="yellow"))
    if finished.report:
        console.print(f"Report    {finished.report}", soft_wrap=True, markup=False)
    shown = without_password(finished.plan.sweep.tracking.uri)
    console.print(f"MLflow    {ui_command(shown)}", soft_wrap=True, markup=False)
    base = shown if shown.startswith("http") else UI
    page = runs_page(base, finished.address.experiment_id)
    console.print(f"          {page}", soft_wrap=True, markup=False)


def show_failed(console: Console, finished: Finished) -> None:
    """What failed and why, where its log is, and how to run only that again."""
    stages = finished.failed_stages
    parts = [_counted(len(finished.failed) - stages, "trial"), _counted(stages, "shared stage")]
    counted = f"{' and '.join(filter(None, parts))} failed:"
    console.print(Text(counted, style="red"))
    for name, reason in finished.failed.items():
        first = (reason.splitlines() or [""])[0]
        console.print(f"  {name}: {first}", markup=False, highlight=False, soft_wrap=True)
        if name in finished.runs:
            where = f"    log and traceback: MLflow run {finished.runs[name]}, artifacts failure/"
            console.print(where, markup=False, highlight=False, soft_wrap=True)
    console.print(
        "Mend the cause and run the same command again: only these run. To give up on some, take "
        "them out of the search axes (--set search.AXIS=[...]).",
        markup=False,
        soft_wrap=True,
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}" if count else ""


def runs_page(base: str, experiment_id: str) -> str:
    """The page of an experiment's runs; without the last part MLflow shows language models."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def ui_command(uri: str) -> str:
    """How to open the MLflow UI on a store, as it can be typed in this shell."""
    if uri.startswith("http"):
        return uri
    here = Path(sys.argv[0])
    if here.is_relative_to(Path.cwd()):
        here = here.relative_to(Path.cwd())
    command = "lotus" if shutil.which("lotus") or here.name != "lotus" else str(here)
    return shlex.join([command, "ui", "--tracking-uri", uri])


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The answer in the report's own sentences, then what it took."""
    said, best = summary["answer"], summary["recommended"]
    rows = [("essential sparsity", said["essential"])]
    if best:
        rows += [("setting", said["recommended"]), ("saves", said["saves"])]
        rows += [("accuracy", said["costs"]), ("next", said["surer"])]
        rows += [("model", f"{best['name']}, {model_words(best['n'])}")]
    if diagnosis := summary.get("diagnosis"):
        rows.append(("ISSP", diagnosis["sentences"][0]))
    return [*rows, ("trials", _trials(summary["trials"])), ("cost", summary["cost"]["words"])]


def _trials(trials: dict[str, int]) -> str:
    failed = f", {trials['failed']} failed" if trials["failed"] else ""
    return f"{trials['finished']} finished of {trials['planned']}{failed}"
