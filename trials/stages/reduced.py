"""The recovery of a model whose tokens leave, or merge, inside: trained so, or only run so."""

from __future__ import annotations

from functools import cache
from typing import Unpack

from pydantic import Field

from trials.context import Context
from trials.model import cost
from trials.model.capability import of_arch
from trials.reduction.config import ReductionConfig
from trials.stage import stage
from trials.stages.finetune import Finetuned, RecoverConfig, Recovery, recovery, speed
from trials.stages.tickets import Tickets
from trials.training.evaluation import evaluate
from trials.training.train import Trainer


class ReducedConfig(RecoverConfig):
    """The recipe of the recovery, and how tokens leave.

    With DynamicViT `lr` is that of the predictors, and all else has a share of it.

    Attributes:
        epochs: 0 = the model's weights stay as they are.
    """

    epochs: int = Field(5, ge=0)
    reduction: ReductionConfig


@stage("reduced", version=1)
def reduced(
    cfg: ReducedConfig, ctx: Context, *, seed: int | None, **inputs: Unpack[Recovery]
) -> Finetuned:
    """Train theta ⊙ mask with tokens leaving inside; the same as `finetune` but for that.

    The learning curve and `validation` are of the model as it will run, on images of which all
    patches enter. Where EViT's keep rate is still falling, the curve also has the accuracy at the
    rate of the moment (`val_accuracy_scheduled`).

    Args:
        seed: None where nothing is trained and nothing drawn.

    Raises:
        StageInputError: see `finetune`.
        ModelError: the method cannot reduce the model.

    Source: EViT (ICLR 2022), ToMe (ICLR 2023), DynamicViT (NeurIPS 2021).
    """
    trainer = recovery(cfg, ctx, seed or 0, inputs, cfg.reduction)
    history = trainer.epochs(cfg.epochs)
    model = trainer.model
    return Finetuned(
        checkpoint=model.checkpoint(),
        history=history,
        validation=trainer.validation or evaluate(model, trainer.data, "validation", ctx),
        images_per_s=speed(history),
        train_macs=_train_macs(cfg, trainer, inputs["tickets"]),
    )


def _train_macs(cfg: ReducedConfig, trainer: Trainer, tickets: Tickets | None) -> float:
    """Of a training image's forward pass, on average over all of them; 0 of none."""
    known = of_arch(trainer.model.arch)
    kept = None if tickets is None else int(tickets.kept)

    @cache
    def macs(config: ReductionConfig) -> float:
        return cost.reduced_macs(known, config, kept, training=True)

    reducing, images = trainer.reducing, trainer.images
    if not cfg.epochs or reducing is None or reducing.at(0) is None:
        return macs(cfg.reduction) if cfg.epochs else 0.0
    starts = range(0, images, cfg.batch_size)
    found = 0.0
    for epoch in range(cfg.epochs):
        for step, start in enumerate(starts):
            now = cfg.reduction.at(epoch + step / len(starts))
            found += min(cfg.batch_size, images - start) * macs(now)
    return found / (cfg.epochs * images)
