"""Asking a server that may not be there: nobody is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from trials.errors import ModelError

T = TypeVar("T")

ANSWER_S = 4.0
"""Longest wait for the hub, its name looked up."""

REMEDY = "Name a safetensors file in model.pretrained, or fill the cache where there is a network."


def within(ask: Callable[[], T], trouble: str, seconds: float | None = None) -> T:
    """An answer that comes soon: to look up a name may take longer than any time-out says.

    Raises:
        ModelError: there is none.
    """
    limit = ANSWER_S if seconds is None else seconds
    found: list[T] = []
    errors: list[Exception] = []

    def asked() -> None:
        try:
            found.append(ask())
        except Exception as error:  # of whatever library speaks HTTP there
            errors.append(error)

    thread = threading.Thread(target=asked, daemon=True)
    thread.start()
    thread.join(limit + 1)
    if found:
        return found[0]
    lines = f"{errors[0]}".split("\n") if errors else [f"no answer within {limit:g} s"]
    raise ModelError(f"{trouble} ({lines[0][:200]}). {REMEDY}")


def mebibytes(size: int | None) -> str:
    """` (22 MiB)`; empty where it is not known."""
    return "" if size is None else f" ({size / 2**20:,.0f} MiB)"
