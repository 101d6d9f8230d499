"""Phase 3: recover the sparse model on the remaining data: kept patches, or unseen images."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, NotRequired, TypedDict, Unpack

import numpy as np
from pydantic import Field

from trials.context import Context, Epoch, Outcomes
from trials.data.datasets import Dataset, fraction_indices
from trials.errors import StageInputError
from trials.lazy import torch
from trials.model.module import Model
from trials.model.vit import Checkpoint, reducing
from trials.reduction.config import ReductionConfig
from trials.sparsity import masks
from trials.sparsity.masks import Masked
from trials.stage import Later, stage
from trials.stages.attention import AttentionConfig, Scoring, score_images
from trials.stages.dense import Dense
from trials.stages.issp import Issp
from trials.stages.pretrained import Pretrained
from trials.stages.round_train import RoundTrained, carried
from trials.stages.soup_train import SoupTrained
from trials.stages.tickets import Tickets
from trials.tokens.kept import Removal
from trials.tokens.patches import Patches
from trials.training.budget import Span
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig
from trials.training.reducing import Reducing
from trials.training.train import Trainer

if TYPE_CHECKING:
    from torch import Tensor


class FinetuneConfig(TrainConfig):
    """The recovery recipe."""

    epochs: int = Field(5, ge=1, description="LOTUS: near the state of the art by epoch 5")
    distill: float = Field(
        0.0, ge=0, le=1, description="weight of KL(dense || sparse) beside cross-entropy"
    )


class OnlineConfig(AttentionConfig):
    """How augmented images are scored on the fly.

    A global threshold needs the scores of all images, and a fixed random set needs images that
    do not move: neither exists online.
    """

    select: Literal["attention", "lowest"] = "attention"
    scope: Literal["image"] = "image"


class RecoverConfig(FinetuneConfig):
    """The recipe, and which images and patches the model trains on.

    Attributes:
        online: score every augmented batch for its patches; None = the tickets as they are.
        other_than: fraction of the training images that made the denoised mask, of which none
            is trained on; None = all are.
        apart: random patches are drawn apart from what moves the images, so that these move as they
            do where no patch is drawn.
        span: which steps these are of a schedule that the pruning's trainings began; None = all
            of a schedule of its own.
    """

    patches: Literal["all", "ticket", "random"] = "all"
    removal: Removal = "gather"
    online: OnlineConfig | None = None
    other_than: float | None = Field(None, gt=0, lt=1)
    apart: Annotated[bool, Later()] = False
    span: Annotated[Span | None, Later()] = None


@dataclass(frozen=True, slots=True)
class Finetuned:
    """The recovered model; masked weights are exactly 0.

    Attributes:
        history: validation on whole images after each epoch.
        validation: image by image after the last epoch.
        images_per_s: median training speed over the epochs, evaluation excluded; 0 without any.
        train_macs: of a training image's forward pass, on average, where tokens left inside; None
            elsewhere.
    """

    checkpoint: Checkpoint
    history: tuple[Epoch, ...]
    validation: Outcomes
    images_per_s: float
    train_macs: float | None = None


class Recovery(TypedDict):
    """What a recovery reads.

    Attributes:
        model: the weights to start from, theta.
        mask: None = no weight is masked.
        tickets: which patches; for `patches: random` and online only their number counts.
        teacher: for distillation; sees whole images.
        scorer: whose attention selects the patches online; stays as it is.
    """

    data: Dataset
    model: Pretrained | Dense | Issp | SoupTrained | RoundTrained | Finetuned
    mask: Masked | None
    tickets: Tickets | None
    teacher: Pretrained | Dense | None
    scorer: NotRequired[Scoring | None]


@stage("finetune", version=2)
def finetune(
    cfg: RecoverConfig, ctx: Context, *, seed: int, **inputs: Unpack[Recovery]
) -> Finetuned:
    """Train theta ⊙ mask on the kept patches of the training images.

    Raises:
        StageInputError: no image is left to train on, tickets are cropped, or the loss is not
            finite.

    Source: LOTUS section 3, "fine-tuning the pruned model using the remaining data patches".
    """
    trainer = recovery(cfg, ctx, seed, inputs)
    history = trainer.epochs(cfg.epochs)
    model = trainer.model
    validation = trainer.validation or evaluate(model, trainer.data, "validation", ctx)
    return Finetuned(model.checkpoint(), history, validation, speed(history))


def speed(history: tuple[Epoch, ...]) -> float:
    """Median training images per second over the epochs; 0 of none."""
    return statistics.median(epoch.images_per_s for epoch in history) if history else 0.0


def recovery(
    cfg: RecoverConfig,
    ctx: Context,
    seed: int,
    inputs: Recovery,
    reduction: ReductionConfig | None = None,
) -> Trainer:
    """The training that recovers theta ⊙ mask, before its first step.

    Args:
        reduction: how tokens leave inside; None = none does.
    """
    data, model = inputs["data"], inputs["model"]
    mask, teacher = inputs["mask"], inputs["teacher"]
    keep = mask.keep if mask is not None else None
    start = masks.masked(model.checkpoint, keep) if keep is not None else model.checkpoint
    taught = Model.of(teacher.checkpoint, ctx.device) if teacher else None
    if reduction is not None:
        start = reducing(start, reduction, seed)
    return Trainer(
        Model.of(start, ctx.device),
        data,
        cfg,
        ctx,
        seed,
        subset=_other_images(cfg.other_than, data, seed),
        keep=keep,
        patches=_patches(cfg, ctx, inputs["tickets"], inputs.get("scorer")),
        teacher=taught,
        distill=cfg.distill,
        span=cfg.span,
        moments=carried(model, cfg.span),
        reducing=None if reduction is None else Reducing(reduction, seed, taught),
    )


def _patches(
    cfg: RecoverConfig,
    ctx: Context,
    tickets: Tickets | None,
    scorer: Scoring | None,
) -> Patches | None:
    if tickets is None or cfg.patches == "all":
        return None
    if cfg.patches == "random":
        return Patches(tickets.train, cfg.removal, random=True, apart=cfg.apart)
    if cfg.online is None or scorer is None:
        return Patches(tickets.train, cfg.removal)
    own = Model.of(scorer.checkpoint, ctx.device)
    score = partial(score_images, cfg.online, own, at_once=ctx.micro_batch)
    lowest = cfg.online.select == "lowest"
    return Patches(tickets.train, cfg.removal, scorer=score, lowest=lowest)


def _other_images(fraction: float | None, data: Dataset, seed: int) -> Tensor | None:
    """The training images that the ingredients of the denoised mask did not see, ascending."""
    if fraction is None:
        return None
    count = len(data.train)
    seen = fraction_indices(data.train.labels, fraction, seed, "mask data")
    if len(seen) == count:
        raise StageInputError(
            f"finetune.data = other_images, but mask_data_fraction = {fraction:g} takes all "
            f"{count} training images: lower it, or write kept_patches"
        )
    return torch.from_numpy(np.setdiff1d(np.arange(count), seen))
