"""torch, imported by whoever first computes with it.

A sweep file, a plan and the driver of a sweep name stages and never run one. torch takes half a
gigabyte of memory and seconds at every start, so a module that computes writes

    from trials.lazy import F, torch

in place of the plain imports. Nothing else changes: type checkers see the modules themselves.
`Tensor` is only written in annotations, which are postponed: its import stands below
`if TYPE_CHECKING:`. What a module does with torch while it is imported, such as a decorator,
would import it at once; tests/test_imports.py plans a sweep and looks.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["F", "torch"]


class LazyModule:
    """Stands for a module and imports it when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        # The module is kept and nothing of it: what is replaced there is then replaced here too.
        if self._module is None:
            self._module = import_module(self._name)
        return getattr(self._module, name)

    def __repr__(self) -> str:
        return f"<{self._name}, imported when it is used>"


if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = LazyModule("torch")
    F = LazyModule("torch.nn.functional")
