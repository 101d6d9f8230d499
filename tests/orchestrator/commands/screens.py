"""Consoles that print into memory, as a file and as a screen."""

import io
import re

from orchestrator.commands.terminal import Terminal


class Tty(io.StringIO):
    """A terminal as far as anybody can ask."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def log() -> Terminal:
    """What a pipe or a file is to us."""
    return Terminal(file=io.StringIO())


def screen(width: int, encoding: str = "utf-8") -> Terminal:
    """A screen without colours."""
    file = Tty()
    file.encoding = encoding
    return Terminal(file=file, width=width, color_system=None, force_terminal=True)


def said(console: Terminal) -> str:
    """What was printed, styles and cursor movements left out."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", console.file.getvalue())
