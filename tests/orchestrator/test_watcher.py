"""The base of every progress display."""

from orchestrator.watcher import Watcher


def test_a_watcher_that_overrides_nothing_takes_every_call() -> None:
    watcher = Watcher()
    watcher.stage_started("dense")
    watcher.stage_ended("dense", True, None)
    watcher.stage_ended("dense", False, "broken")
    watcher.trial_started("lotus-seed0")
    watcher.trial_ended("lotus-seed0", None)
    watcher.tick()
