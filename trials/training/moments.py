"""The state of an optimizer as tensors by name, and back: how a training goes on with another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its tensors, as `<parameter number>.<name>`, in that order."""
    # Sorted, or the order after a resumption would be that in which they were loaded.
    state = sorted(optimizer.state_dict()["state"].items())
    return {f"{i}.{name}": own[name] for i, own in state for name in sorted(own)}


def take_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """The inverse of `moments_of`; its learning rates stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        number, _, field_name = name.partition(".")
        state.setdefault(int(number), {})[field_name] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def steps_of(moments: Mapping[str, Tensor]) -> int:
    """How many steps an optimizer had made; 0 of a fresh one."""
    return next((int(t) for name, t in moments.items() if name.endswith(".step")), 0)
