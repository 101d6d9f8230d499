"""What is told while a sweep runs. Apart from Ray, which takes seconds to import."""


class Watcher:
    """Told what happens; a progress display overrides what it shows."""

    def stage_started(self, name: str) -> None:
        """A stage is being computed."""

    def stage_ended(self, name: str, computed: bool, error: str | None) -> None:
        """A shared stage is there, or failed."""

    def trial_started(self, name: str) -> None:
        """A trial runs."""

    def trial_ended(self, name: str, error: str | None) -> None:
        """A trial is finished, or failed for good."""

    def tick(self) -> None:
        """Called often while waiting."""
