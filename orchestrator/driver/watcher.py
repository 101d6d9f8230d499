"""What is told while a sweep runs. Apart from Ray, which takes seconds to import."""

from collections.abc import Sequence

from orchestrator.driver.queue import Item


class Watcher:
    """Told what happens; a progress display overrides what it shows."""

    def begins(self, items: Sequence[Item], more: int) -> None:
        """What is to run, and how many trials results may still call for."""

    def added(self, item: Item) -> None:
        """A shared stage or a trial that results have called for is waiting now."""

    def started(self, item: Item) -> None:
        """A shared stage or a trial runs."""

    def room(self, at_once: int, running: int, pending: bool) -> None:
        """How many processes this sweep may have, has, and whether it has asked for more."""

    def came(self, item: str, stage: str, fraction: float, at: float) -> None:
        """A stage of a running item, both known by key, is so far, by its process's clock."""

    def took(self, item: Item, seconds: float) -> None:
        """How long it took, told before its end; not told of the first of its sort in a process."""

    def back(self, item: Item) -> None:
        """It was handed to a process and not finished there, by no fault of its own; it waits."""

    def again(self, item: Item, reason: str) -> None:
        """An attempt failed for a reason that may pass; there will be another."""

    def scored(self, item: Item, accuracy: float) -> None:
        """A trial's deployed accuracy on validation; also told of what earlier runs finished."""

    def ended(self, item: Item, error: str | None) -> None:
        """It is finished, or failed for good."""

    def says(self, text: str) -> None:
        """Why nothing happens for a while."""

    def tick(self) -> None:
        """Called often while waiting."""
