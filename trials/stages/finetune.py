"""Phase 3: recover the sparse model on the kept patches."""

import statistics
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from trials import vit
from trials.data import Dataset
from trials.masks import Masked
from trials.stage import stage
from trials.stages.dense import Dense
from trials.stages.issp import Issp
from trials.stages.pretrained import Pretrained
from trials.stages.tickets import Tickets
from trials.train import Context, Epoch, Patches, TrainConfig, Trainer
from trials.vit import Checkpoint, Removal


class FinetuneConfig(TrainConfig):
    """The recovery recipe."""

    epochs: int = Field(5, ge=1, description="LOTUS: near the state of the art by epoch 5")
    distill: float = Field(
        0.0, ge=0, le=1, description="weight of KL(dense || sparse) beside cross-entropy"
    )


class RecoverConfig(FinetuneConfig):
    """The recipe and which patches the model trains on."""

    patches: Literal["all", "ticket", "random"] = "all"
    removal: Removal = "gather"


@dataclass(frozen=True, slots=True)
class Finetuned:
    """The recovered model; masked weights are exactly 0.

    Attributes:
        history: validation on whole images after each epoch.
        images_per_s: median training speed over the epochs, evaluation excluded.
    """

    checkpoint: Checkpoint
    history: tuple[Epoch, ...]
    images_per_s: float


@stage("finetune", version=1)
def finetune(
    cfg: RecoverConfig,
    ctx: Context,
    *,
    seed: int,
    data: Dataset,
    model: Pretrained | Dense | Issp,
    mask: Masked | None,
    tickets: Tickets | None,
    teacher: Dense | None,
) -> Finetuned:
    """Train theta ⊙ mask on the kept patches of all training images.

    Args:
        mask: None = no weight is masked.
        tickets: which patches; for `patches: random` only their number counts.
        teacher: for distillation; sees whole images.

    Source: LOTUS section 3, "fine-tuning the pruned model using the remaining data patches".
    """
    trainer = recovery(cfg, ctx, seed, data, model, mask, tickets, teacher)
    history = trainer.epochs(cfg.epochs)
    return Finetuned(vit.take(trainer.model, trainer.arch), history, speed(history))


def speed(history: tuple[Epoch, ...]) -> float:
    """Median training images per second over the epochs."""
    return statistics.median(epoch.images_per_s for epoch in history)


def recovery(
    cfg: RecoverConfig,
    ctx: Context,
    seed: int,
    data: Dataset,
    model: Pretrained | Dense | Issp,
    mask: Masked | None,
    tickets: Tickets | None,
    teacher: Dense | None,
) -> Trainer:
    """The training that recovers theta ⊙ mask, before its first step; arguments as `finetune`."""
    arch, keep = model.checkpoint.arch, mask.keep if mask is not None else None
    start = vit.masked(model.checkpoint, keep) if keep is not None else model.checkpoint
    patches = None
    if tickets is not None and cfg.patches != "all":
        patches = Patches(tickets.train, cfg.removal, random=cfg.patches == "random")
    return Trainer(
        vit.build(start, ctx.device),
        arch,
        data,
        cfg,
        ctx,
        seed,
        keep=keep,
        patches=patches,
        teacher=vit.build(teacher.checkpoint, ctx.device) if teacher else None,
        distill=cfg.distill,
    )
