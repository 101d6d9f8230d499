"""Notices to the user, although nothing has failed: each given once, to the listener."""

import warnings
from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []
_said: set[str] = set()


def tell(listener: Callable[[str], None] | None) -> None:
    """Set the listener; None = use Python's warnings."""
    _listeners[:] = [listener] if listener else []
    _said.clear()


def say(text: str) -> None:
    """Give a notice, unless it was given already."""
    if text in _said:
        return
    _said.add(text)
    for listener in _listeners:
        listener(text)
    if not _listeners:
        warnings.warn(text, stacklevel=2)
