"""The terminal: colours are ours, text is shown as it is."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from orchestrator.visible import visible


class Terminal(Console):
    """A console on which no name, path or error can do more than be read."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)

    def print(self, *objects: Any, **options: Any) -> None:
        """As its parent does, but `[red]` in a text is no markup."""
        super().print(*objects, **{"markup": False, **options})


def can_be_written_over(console: Console) -> bool:
    """Whether a live line can be shown: FORCE_COLOR makes no terminal of a file."""
    try:
        return console.file.isatty() and not console.is_dumb_terminal
    except ValueError:  # it is closed
        return False
