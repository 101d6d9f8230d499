"""Progress while a sweep works: one live block on a screen, a line now and then elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.commands.terminal import INDENT, can_be_written_over, show_text, some
from orchestrator.driver.queue import Item
from orchestrator.driver.timeleft import Countdown, TimeLeft
from orchestrator.driver.watcher import Watcher
from orchestrator.selection.verdicts import percent
from trials.arms import DENSE, LOTUS_ARMS

SOON_S = 10.0
"""Less than this is not told to the second."""

ESTIMATE_S = 1.0
"""Between two estimates of the time left, where making one costs nothing."""

BEGAN = time.monotonic()
"""When this module was imported: as a command begins to work."""

QUIET_S = 10.0
"""Without a terminal, a line of progress this often."""

NAMED = 2
"""How many of the running items are named."""

WIDEST_BAR, NARROWEST_BAR = 40, 8
"""In columns."""

ESTIMATING = "estimating the time left"


def duration(seconds: float) -> str:
    """95 -> `1m35s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Display(Watcher):
    """Progress of one run."""

    def __init__(self, console: Console, trials: int, stages: int) -> None:
        self.console = console
        self.total = {"trial": trials, "stage": stages}
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.running: dict[str, Item] = {}
        self.best: dict[str, tuple[float, str]] = {}
        self.start = self.said = time.monotonic()
        self.is_live = can_be_written_over(console)
        self.time_left, self.countdown = TimeLeft(), Countdown()
        self.left_s: float | None = None
        self.estimate_at = self.start
        self.live = Live(Block(self), console=console, refresh_per_second=4, transient=True)

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
        self.says(f"{item.name}: {reason}; it is tried again")
        self.tick()

    def scored(self, item: Item, accuracy: float) -> None:
        kind = "pruned" if item.arm in LOTUS_ARMS else item.arm
        self.best[kind] = max(self.best.get(kind, (0.0, "")), (accuracy, item.name))

    def says(self, text: str) -> None:
        self._print(text, "yellow")

    def ended(self, item: Item, error: str | None) -> None:
        self.running.pop(item.key, None)
        self.time_left.ended(item.key)
        if error:
            self.failed[item.kind] += 1
            self._print(f"{item.name} failed: {error}", "red")
        else:
            self.done[item.kind] += 1
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        self._estimate(now)
        if not self.is_live and now - self.said >= QUIET_S:
            self.said = now
            self.console.print(self.line(), soft_wrap=True)

    def _print(self, text: str, style: str) -> None:
        show_text(self.console, f"  {text}", style)

    def line(self) -> Text:
        """Everything in one line of any length, for a file."""
        parts = [
            f"trials {self.done['trial']} done, {self._trials_running} running, "
            f"{self.failed['trial']} failed of {self.total['trial']}",
            f"shared stages {self.done['stage']}/{self.total['stage']}",
            *(f"best {best}" for best in self._best()),
            f"now: {self._now()}",
            duration(time.monotonic() - self.start),
            self.left_words or ESTIMATING,
        ]
        return Text("  " + " · ".join(parts))

    def rows(self) -> Iterator[tuple[str, Text]]:
        """The lines of the live block below its bar."""
        done, failed = self.done["trial"], self.failed["trial"]
        counted = f"{done} of {self.total['trial']} done, {self._trials_running} running"
        yield "trials", Text.assemble(counted, (f", {failed} failed" if failed else "", "red"))
        if self.total["stage"]:
            done, failed = self.done["stage"], self.failed["stage"]
            counted = f"{done} of {self.total['stage']} shared stages done"
            yield "stages", Text.assemble(counted, (f", {failed} failed" if failed else "", "red"))
        for best in self._best():
            yield "best", Text(best)
        yield "now", Text(self._now())

    @property
    def part(self) -> float:
        """How much has ended of what is known, from 0 to 1."""
        ended = self.done.total() + self.failed.total()
        return ended / max(1, sum(self.total.values()))

    @property
    def left_words(self) -> str:
        """The time left; nothing while it cannot be told."""
        if self.left_s is None:
            return ""
        return f"{duration(self.left_s)} left" if self.left_s >= SOON_S else "seconds left"

    @property
    def _trials_running(self) -> int:
        return sum(item.kind == "trial" for item in self._running())

    def _running(self) -> list[Item]:
        """What runs, at one moment: the thread that draws the block asks as well."""
        return list(self.running.values())

    def _best(self) -> Iterator[str]:
        """The best pruned model so far and the best dense one, in words; nothing without either."""
        pruned, dense = self.best.get("pruned"), self.best.get(DENSE)
        beside = f"; dense: {percent(dense[0])}" if dense else ""
        if pruned:
            yield f"{percent(pruned[0])} on validation, {pruned[1]}{beside}"

    def _now(self) -> str:
        """What runs, or what happens while nothing does."""
        running = [item.name for item in self._running()]
        if running:
            return some(running, NAMED)
        ended = self.done.total() + self.failed.total()
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


class Block:
    """The live block: a bar and a few lines, each cut to the screen's width and none wrapped."""

    def __init__(self, display: Display) -> None:
        self.display = display

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, room = self.display, options.max_width - INDENT
        times = [f"{100 * shown.part:.0f} %", duration(time.monotonic() - shown.start)]
        times.append(shown.left_words or ESTIMATING)
        words = " · ".join(times)
        if room - len(words) - 2 < NARROWEST_BAR:
            words = times[0]
        width = min(WIDEST_BAR, room - len(words) - 2)
        # Where `…` has to be written as `...`, a line that was cut would be too long.
        cut: OverflowMethod = "crop" if options.ascii_only else "ellipsis"
        if width >= NARROWEST_BAR:
            bar = Table.grid(padding=(0, 2, 0, 0))
            bar.add_row(ProgressBar(total=1.0, completed=shown.part, width=width), Text(words))
            yield Padding(bar, (0, 0, 0, INDENT), expand=False)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", no_wrap=True, min_width=len("trials"))
        grid.add_column(no_wrap=True, overflow=cut)
        for label, said in shown.rows():
            grid.add_row(Text(label), said)
        yield Padding(grid, (0, 0, 0, INDENT), expand=False)
