"""The only evaluation loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.model import vit
from trials.model.vit import Arch, Removal
from trials.tokens import tickets

if TYPE_CHECKING:
    from torch import Tensor

EVAL_BATCH = 512


def evaluate(
    model: Any,
    arch: Arch,
    data: Dataset,
    split: Literal["train", "validation", "test"],
    ctx: Context,
    keep_NP: Tensor | None = None,
    removal: Removal = "gather",
) -> Outcomes:
    """Which images of a split the model gets right, in float32.

    Args:
        keep_NP: a ticket per image (bool, images x patches); None = the model sees all patches.

    Raises:
        StageInputError: the loss is not finite.
    """
    images, labels = data.on(ctx.device, split)
    size = vit.input_size(model)
    correct, loss = [], torch.zeros((), dtype=torch.float64, device=ctx.device)
    at_once = ctx.at_once(EVAL_BATCH)
    with torch.no_grad():
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            kept = None if keep_NP is None else tickets.indices(keep_NP[part])
            padded = kept is not None and tickets.is_padded(kept)
            x = vit.preprocess(images[part], arch, size)
            kept = kept.to(ctx.device) if kept is not None else None
            logits = vit.forward(model, x, kept, removal, padded=padded).float()
            loss += F.cross_entropy(logits, labels[part], reduction="sum")
            correct.append(logits.argmax(-1) == labels[part])
    mean = float(loss) / len(images)
    if not math.isfinite(mean):
        raise StageInputError(
            f"the loss on the {split} images is {mean}: the model's weights or outputs are not "
            "finite. Lower the `lr` of the training that they come from, or set its `grad_clip`"
        )
    return Outcomes(torch.cat(correct).cpu(), mean)
