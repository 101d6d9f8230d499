"""The only evaluation loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.model.module import Model
from trials.tokens.kept import Kept, Removal

if TYPE_CHECKING:
    from torch import Tensor

EVAL_BATCH = 512


def evaluate(
    model: Model,
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
    correct, loss = [], torch.zeros((), dtype=torch.float64, device=ctx.device)
    at_once = ctx.at_once(EVAL_BATCH)
    with torch.no_grad():
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            kept = None
            if keep_NP is not None:
                kept = Kept.of_tickets(keep_NP[part], removal).to(ctx.device)
            logits = model(model.inputs(images[part]), kept).float()
            loss += F.cross_entropy(logits, labels[part], reduction="sum")
            correct.append(logits.argmax(-1) == labels[part])
    mean = float(loss) / len(images)
    if not math.isfinite(mean):
        raise StageInputError(
            f"the loss on the {split} images is {mean}: the model's weights or outputs are not "
            "finite. Lower the `lr` of the training that they come from, or set its `grad_clip`"
        )
    return Outcomes(torch.cat(correct).cpu(), mean)
