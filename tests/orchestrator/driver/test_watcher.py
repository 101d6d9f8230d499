"""The base of every progress display."""

import inspect

from orchestrator.commands.progress import Display
from orchestrator.driver.queue import Item
from orchestrator.driver.watcher import Watcher

METHODS = {n: f for n, f in vars(Watcher).items() if inspect.isfunction(f)}


def test_a_watcher_that_overrides_nothing_says_nothing() -> None:
    item = Item(key="k", name="lotus-seed0", kind="trial")
    told = {
        "begins": ([item], 0),
        "added": (item,),
        "started": (item,),
        "room": (2, 1, True),
        "came": ("k", "dense", 0.5, 1.0),
        "took": (item, 1.0),
        "back": (item,),
        "again": (item, "its process died"),
        "scored": (item, 0.9),
        "ended": (item, "broken"),
        "says": ("no node can run a trial yet",),
        "tick": (),
    }
    assert told.keys() == METHODS.keys()
    for name, arguments in told.items():
        assert getattr(Watcher(), name)(*arguments) is None


def test_the_display_overrides_every_call_with_the_same_signature() -> None:
    for name, function in METHODS.items():
        own = vars(Display)[name]
        assert inspect.signature(own) == inspect.signature(function)
