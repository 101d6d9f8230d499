"""What is told while a sweep runs. Apart from Ray, which takes seconds to import."""

from orchestrator.driver.queue import Item


class Watcher:
    """Told what happens; a progress display overrides what it shows."""

    def added(self, item: Item) -> None:
        """A shared stage or a trial that results have called for is waiting now."""

    def started(self, item: Item) -> None:
        """A shared stage or a trial runs."""

    def back(self, item: Item) -> None:
        """It was handed to a process and not finished there, by no fault of its own; it waits."""

    def again(self, item: Item, reason: str) -> None:
        """An attempt failed for a reason that may pass; there will be another."""

    def ended(self, item: Item, error: str | None) -> None:
        """It is finished, or failed for good."""

    def says(self, text: str) -> None:
        """Why nothing happens for a while."""

    def tick(self) -> None:
        """Called often while waiting."""
