"""What an optimizer has in mind, as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state, as `<parameter number>.<name>`, in that order."""
    # Sorted, or the order after a resumption would be that in which they were loaded.
    state = sorted(optimizer.state_dict()["state"].items())
    return {f"{i}.{name}": own[name] for i, own in state for name in sorted(own)}


def load(optimizer: torch.optim.Optimizer, found: Mapping[str, Tensor]) -> None:
    """The inverse of `tensors`; the settings of the groups stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in found.items():
        number, _, field = name.partition(".")
        state.setdefault(int(number), {})[field] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
