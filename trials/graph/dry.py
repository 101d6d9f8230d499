"""A trial without its results: the largest things that it holds at once, to see what they take."""

from __future__ import annotations

from functools import partial

from trials.config import TrialConfig
from trials.context import Context
from trials.data.datasets import Counts, Dataset
from trials.graph.fitting import fitted
from trials.lazy import torch
from trials.model import vit
from trials.model.module import Model
from trials.sparsity import masks
from trials.stages.attention import SCORE_BATCH, AttentionConfig, score_images
from trials.tokens.patches import Patches
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig
from trials.training.reducing import Reducing
from trials.training.train import Trainer

STEPS = 2
"""The second step has the optimizer's state as well."""


def largest_batch(trial: TrialConfig) -> int:
    """Images of the largest step of any of its trainings."""
    return max(trial.dense.batch_size, trial.finetune.batch_size, trial.issp.batch_size)


def dry_run(trial: TrialConfig, data: Dataset, ctx: Context) -> None:
    """Train for two steps, evaluate and read attention, as the trial would at most.

    The weights are random, every prunable one has a mask, and all patches are kept. A teacher and
    an online scorer are there where the trial has them.
    """
    trial = fitted(trial, Counts.of(data))
    section = trial.model.model_copy(update={"pretrained": False})
    start = vit.create(section, classes=data.classes, channels=data.channels, seed=0)
    recipe = trial.finetune.part(TrainConfig, batch_size=largest_batch(trial))
    reduction = trial.reduction if trial.reduces and trial.reduction.train else None
    teaches = trial.finetune.distill or (reduction is not None and reduction.predicts)
    teacher = Model.of(start, ctx.device) if teaches else None
    masked = masks.ones_like(masks.prunable(start))
    if reduction is not None:
        start = vit.reducing(start, reduction, seed=0)
    model = Model.of(start, ctx.device)
    score = partial(
        score_images,
        trial.tickets.part(AttentionConfig),
        Model.of(start, ctx.device) if trial.tickets.selection == "online" else model,
        at_once=ctx.micro_batch,
    )
    patches = None
    if trial.tickets.selection == "online":
        grid = model.module.patch_embed.num_patches
        everything = torch.ones(len(data.train), grid, dtype=torch.bool)
        patches = Patches(everything, trial.tickets.removal, scorer=score)
    trainer = Trainer(
        model,
        data,
        recipe.model_copy(update={"crop": recipe.crop if patches is not None else 0}),
        ctx,
        0,
        keep=masked,
        patches=patches,
        teacher=teacher,
        distill=trial.finetune.distill,
        reducing=None if reduction is None else Reducing(reduction, 0, teacher),
    )
    trainer.steps(STEPS)
    evaluate(model, data, "validation", ctx)
    images, _ = data.on(ctx.device, "validation")
    if trial.parts.ticketed:
        score(model.inputs(images[: ctx.at_once(SCORE_BATCH)]))
