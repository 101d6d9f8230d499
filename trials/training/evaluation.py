"""The only evaluation loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.data.images import chosen
from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.model.module import Model
from trials.precision import autocast
from trials.tokens.kept import Kept, KeptTable, Removal
from trials.training import pace

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
    """Which images of a split the model gets right, in its `eval_precision`; the loss in float32.

    Args:
        keep_NP: a ticket per image (bool, images x patches); None = the model sees all patches.

    Raises:
        StageInputError: the loss is not finite.
    """
    images, labels = data.on(ctx.device, split)
    table = None if keep_NP is None else KeptTable.of_tickets(keep_NP, removal).placed(ctx.placed)
    correct: list[Tensor] = []
    losses: list[Tensor] = []
    at_once = ctx.at_once(EVAL_BATCH)
    # Of the whole split at once, so that nothing hangs on where it is cut.
    noise = model.noise(len(images), split)
    with torch.no_grad(), autocast(model.arch.eval_precision, ctx.device):
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            kept = None if table is None else table.batch(part)
            ahead = (len(images) - start) // at_once
            own = None if noise is None else ctx.placed(noise[part])
            logits = _logits(model, images[part], kept, own, ctx, ahead)
            losses.append(F.cross_entropy(logits, labels[part], reduction="sum"))
            correct.append(logits.argmax(-1) == labels[part])
    mean = total(losses) / len(images)
    if not math.isfinite(mean):
        raise StageInputError(
            f"the loss on the {split} images is {mean}: the model's weights or outputs are not "
            "finite. Lower the `lr` of the training that they come from, or set its `grad_clip`"
        )
    return Outcomes(torch.cat(correct).cpu(), mean)


def predicted(
    model: Model,
    data: Dataset,
    split: Literal["validation", "test"],
    rows: NDArray[np.int64],
    ctx: Context,
    keep_NP: Tensor,
    removal: Removal,
) -> list[int]:
    """The class that the model predicts of a few images, each with its own ticket.

    Args:
        rows: of the images in the split, int64 (B,).
        keep_NP: see `evaluate`; of the whole split.
    """
    images, _ = data.on(ctx.device, split)
    noise = model.noise(len(images), split)
    found: list[int] = []
    with torch.no_grad(), autocast(model.arch.eval_precision, ctx.device):
        for which in torch.split(torch.from_numpy(rows), ctx.at_once(EVAL_BATCH)):
            kept = Kept.of_tickets(keep_NP[which], removal).to(ctx.device)
            own = None if noise is None else ctx.placed(noise[which])
            logits = model(model.inputs(chosen(images, which)), kept, own)
            found += logits.argmax(-1).cpu().tolist()
    return found


def _logits(
    model: Model,
    images: Tensor,
    kept: Kept | None,
    noise: Tensor | None,
    ctx: Context,
    ahead: int,
) -> Tensor:
    """Logits, float32, of some images; in several passes where these are faster.

    Args:
        noise: of these images, where the model draws.
        ahead: how often as many images are evaluated yet, these among them.
    """

    def run(at_once: int) -> Tensor:
        parts = [slice(start, start + at_once) for start in range(0, len(images), at_once)]
        found = [
            model(
                model.inputs(images[p]),
                None if kept is None else kept[p],
                None if noise is None else noise[p],
            )
            for p in parts
        ]
        return torch.cat(found).float()

    if ctx.device.type != "cpu":
        return run(len(images))
    seen = None if kept is None else (kept.indices.shape[1], kept.padded, kept.removal)
    arch = model.arch
    kind = (arch.name, repr(arch.kwargs), repr(arch.reduction), arch.eval_precision)
    case = (*kind, seen, len(images), torch.get_num_threads())
    return run(pace.images_at_once(case, len(images), run, ahead=ahead))


def total(losses: Sequence[Tensor]) -> float:
    """The sum of losses, numbers on a device that are read at once: in float64, in their order."""
    found = 0.0  # not `sum`, which carries rounding errors along since Python 3.12
    for loss in torch.stack(list(losses)).cpu().tolist():
        found += loss
    return found
