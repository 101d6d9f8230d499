"""What somebody should know although nothing has failed: said once, to whoever listens."""

import warnings
from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []
_said: set[str] = set()


def tell(listener: Callable[[str], None] | None) -> None:
    """Who is told from now on; None = Python's warnings."""
    _listeners[:] = [listener] if listener else []
    _said.clear()


def say(text: str) -> None:
    """Say something, unless it was said already."""
    if text in _said:
        return
    _said.add(text)
    for listener in _listeners:
        listener(text)
    if not _listeners:
        warnings.warn(text, stacklevel=2)
