"""In which number format a model computes."""

from __future__ import annotations

from typing import Literal, get_args

from trials.lazy import torch

Precision = Literal["float32", "bfloat16"]


def precision_of(text: str) -> Precision:
    """A number format by name.

    Raises:
        ValueError: there is none of this name.
    """
    for one in get_args(Precision):
        if one == text:
            found: Precision = one
            return found
    raise ValueError(f"eval_precision = {text}: must be one of {', '.join(get_args(Precision))}")


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """What a setting `precision` is on a device; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
