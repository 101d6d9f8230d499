"""Record what a real sweep tells its display, for tests of the time left.

    .venv/bin/python tests/benchmarks/record_timings.py digits > FILE.json
    .venv/bin/python tests/benchmarks/record_timings.py digits --set 'search.seed=[2]' --store DIR

`tests/orchestrator/driver/recorded/` holds such files. Each event is [seconds since the start, what
was told, its arguments]; items are told by their place in `items`, stages by their place in the
item's steps.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.driver.queue import Item
from orchestrator.driver.watcher import Watcher
from tests.benchmarks.measuring import about


class Recorder(Watcher):
    """Keeps what it is told, with the time."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.items: list[Item] = []
        self.places: dict[str, int] = {}
        self.events: list[list[Any]] = []
        self.room_was: tuple[int, int, bool] | None = None

    def _note(self, what: str, *arguments: Any) -> None:
        self.events.append([round(time.monotonic() - self.start, 2), what, *arguments])

    def _place(self, item: Item) -> int:
        if item.key not in self.places:
            self.places[item.key] = len(self.items)
            self.items.append(item)
        return self.places[item.key]

    def begins(self, items: Sequence[Item], more: int) -> None:
        self._note("begins", [self._place(item) for item in items], more)

    def added(self, item: Item) -> None:
        self._note("added", self._place(item))

    def started(self, item: Item) -> None:
        self._note("started", self._place(item))

    def room(self, at_once: int, running: int, pending: bool) -> None:
        if self.room_was != (at_once, running, pending):
            self.room_was = at_once, running, pending
            self._note("room", at_once, running, pending)

    def came(self, item: str, stage: str, fraction: float, at: float) -> None:
        if item in self.places:
            place = self.places[item]
            steps = [step.key for step in self.items[place].steps]
            if stage in steps:
                self._note("came", place, steps.index(stage), round(fraction, 4), round(at, 2))

    def took(self, item: Item, seconds: float) -> None:
        self._note("took", self._place(item), round(seconds, 3))

    def back(self, item: Item) -> None:
        self._note("back", self._place(item))

    def again(self, item: Item, reason: str) -> None:
        self._note("again", self._place(item))

    def ended(self, item: Item, error: str | None) -> None:
        self._note("ended", self._place(item))

    def shown(self) -> list[dict[str, Any]]:
        """The items: what they need by place, their steps as stage and predicted seconds."""
        return [
            {
                "kind": item.kind,
                "needs": [self.places[key] for key in item.needs if key in self.places],
                "steps": [[step.stage, round(step.seconds, 4)] for step in item.steps],
            }
            for item in self.items
        ]


def main() -> None:
    """Run a sweep and print what it told."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sweep")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument(
        "--store", type=Path, help="folder of store and tracking; default: a new one"
    )
    options = parser.parse_args()
    from orchestrator.driver.driver import run
    from orchestrator.planning.sweepfile import load_sweep

    with tempfile.TemporaryDirectory() as new:
        folder = (options.store or Path(new)).absolute()
        places = [f"storage.path={folder}/store", f"tracking.uri=sqlite:///{folder}/mlflow.db"]
        sweep = load_sweep(options.sweep, [*options.overrides, *places])
        recorder = Recorder(time.monotonic())
        finished = run(sweep, watch=lambda *_: recorder)
        ended_s = round(time.monotonic() - recorder.start, 2)
    assert not finished.failed, finished.failed
    found = about() | {"sweep": options.sweep, "overrides": options.overrides}
    found |= {"ended_s": ended_s, "items": recorder.shown(), "events": recorder.events}
    print(json.dumps(found, separators=(",", ":")))


if __name__ == "__main__":
    main()
