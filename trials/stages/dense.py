"""The dense model: the baseline that every pruned model is compared with."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from trials.context import Context, Epoch, Outcomes
from trials.data.datasets import Dataset
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.stage import Later, stage
from trials.stages.pretrained import Pretrained
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer


class DenseConfig(TrainConfig):
    """How the pretrained model is adapted to the data set."""

    epochs: int = Field(8, ge=0, description="0: the given weights as they are")
    train: Annotated[Literal["all", "head"], Later()] = Field(
        "all", description="which weights; head: a linear probe, on features that stay as they are"
    )


@dataclass(frozen=True, slots=True)
class Dense:
    """The adapted model, its learning curve, and what it gets right."""

    checkpoint: Checkpoint
    history: tuple[Epoch, ...]
    validation: Outcomes
    test: Outcomes


@stage("dense", version=1)
def dense(
    cfg: DenseConfig, ctx: Context, *, seed: int | None, data: Dataset, model: Pretrained
) -> Dense:
    """Adapt a model by plain training and evaluate it; LOTUS gives no recipe.

    Source of the default recipe: Essential Sparsity, Table 1.
    """
    own = Model.of(model.checkpoint, ctx.device)
    trainer = Trainer(own, data, cfg, ctx, seed or 0, head_only=cfg.train == "head")
    history = trainer.epochs(cfg.epochs)
    return Dense(
        checkpoint=own.checkpoint(),
        history=history,
        validation=trainer.validation or evaluate(own, data, "validation", ctx),
        test=evaluate(own, data, "test", ctx),
    )
