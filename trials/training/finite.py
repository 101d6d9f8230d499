"""Every number of a stage's result must be finite; otherwise the error says what to change.

No field of any result may be NaN or infinite: what was not measured is None in its type
(`Final.test_ticket`, `Final.epochs_to_near_dense`, `Probe.sparsity`), a training without a step
has the loss 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from trials.errors import StageInputError
from trials.lazy import torch

DIVERGED = "the model that it reads has diverged: lower `dense.lr`, or set `dense.grad_clip`"
SOUP = "the ingredients have diverged: lower `issp.lr`, or narrow `issp.spread`"
RECOVERY = "the recovery has diverged: lower `finetune.lr`, or set `finetune.grad_clip`"

REMEDIES = {
    "pretrained": "the weights hold such values: name another file in `model.pretrained`",
    "dense": "the training has diverged: lower `dense.lr`, or set `dense.grad_clip`",
    "attention": DIVERGED + ", or write `tickets.weights: pretrained`",
    "tickets": DIVERGED,
    "calibrate": DIVERGED,
    "essential": DIVERGED,
    "recovered": RECOVERY,
    "probe": DIVERGED,
    "pick": DIVERGED,
    "denoise": SOUP,
    "issp": SOUP,
    "soup_train": SOUP,
    "round_train": RECOVERY,
    "finetune": RECOVERY,
    "reduced": RECOVERY,
    "rung": RECOVERY,
    "evaluate": RECOVERY,
    "profile": "the clock of this machine cannot be used: run it again",
}
"""What to change, by stage."""


def check_finite(result: Any, stage: str) -> None:
    """Look at every number of a stage's result.

    Args:
        result: a dataclass of tensors, plain values, tuples and dicts.
        stage: its name, which decides what the error advises.

    Raises:
        StageInputError: a float, or an element of a floating tensor, is NaN or infinite.
    """
    if bad := list(_not_finite(result, "")):
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        remedy = REMEDIES.get(stage, "check its settings")
        raise StageInputError(f"{stage}: {', '.join(bad[:3])}{more} not finite; {remedy}")


def _not_finite(value: Any, path: str) -> Iterator[str]:
    """The places of such numbers, dotted."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            yield path
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path
    else:
        for name, part in _parts(value):
            yield from _not_finite(part, f"{path}.{name}" if path else str(name))


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    if dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
