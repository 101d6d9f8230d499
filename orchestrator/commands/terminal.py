"""The terminal: colours are ours, text is shown as it is.

On a screen, lines are wrapped between words beside their label. Anywhere else, as in a file or a
pipe, a line is a line, whatever its length.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from orchestrator.visible import visible

INDENT = 2


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


def is_screen(console: Console) -> bool:
    """Whether a person looks at it: FORCE_COLOR makes no terminal of a file."""
    try:
        return console.file.isatty()
    except ValueError:  # it is closed
        return False


def can_be_written_over(console: Console) -> bool:
    """Whether a live block can be shown."""
    return is_screen(console) and not console.is_dumb_terminal


def show_pairs(
    console: Console, pairs: Sequence[tuple[str | Text, str | Text]], indent: int = INDENT
) -> None:
    """Labels, and beside each what it stands for."""
    width = max((len(label) for label, _ in pairs), default=0)
    if not is_screen(console):
        for label, said in pairs:
            line = Text.assemble(" " * indent, label, " " * (width + 2 - len(label)), said)
            console.print(line, soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, said in pairs:
        grid.add_row(_as_text(label), _as_text(said))
    console.print(Padding(grid, (0, 0, 0, indent), expand=False))


def show_line(console: Console, text: str | Text, style: str = "") -> None:
    """A line to be copied or searched: it is never broken here."""
    console.print(text, style=style, highlight=False, soft_wrap=True)


def show_text(console: Console, text: str | Text, style: str = "") -> None:
    """A paragraph: broken between words on a screen, and nowhere else."""
    console.print(text, style=style, highlight=False, soft_wrap=not is_screen(console))


def some(names: Sequence[str], count: int) -> str:
    """`a, b and 2 more`."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _as_text(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value)
