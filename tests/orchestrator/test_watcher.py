"""The base of every progress display."""

from orchestrator.queue import Item
from orchestrator.watcher import Watcher


def test_a_watcher_that_overrides_nothing_takes_every_call() -> None:
    watcher = Watcher()
    item = Item(key="k", name="lotus-seed0", kind="trial")
    watcher.started(item)
    watcher.ended(item, None)
    watcher.ended(item, "broken")
    watcher.tick()
