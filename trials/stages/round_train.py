"""Phase 2, only for `order: train_first`: the model is trained before a round prunes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.seeding import derive
from trials.sparsity import masks
from trials.sparsity.masks import Masked
from trials.stage import StageConfig, stage
from trials.stages.dense import Dense
from trials.stages.pretrained import Pretrained
from trials.training.budget import Span
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

if TYPE_CHECKING:
    from torch import Tensor


class RoundTrainConfig(StageConfig):
    """One round's training before its prune.

    Attributes:
        recipe: how the model is trained, of all rounds and, with one pass, of the recovery too.
        span: which steps these are of the schedule of all.
    """

    recipe: TrainConfig
    span: Span
    round: int


@dataclass(frozen=True, slots=True)
class RoundTrained:
    """The weights that a round prunes, exactly 0 outside the mask of the round before.

    Attributes:
        optimizer: see `trials.training.moments`; what trains on starts with it.
        steps: of this round.
        loss: mean training loss.
    """

    checkpoint: Checkpoint
    optimizer: dict[str, Tensor]
    steps: int
    loss: float


@stage("round_train", version=1)
def round_train(
    cfg: RoundTrainConfig,
    ctx: Context,
    *,
    seed: int,
    data: Dataset,
    model: Pretrained | Dense | RoundTrained,
    mask: Masked,
) -> RoundTrained:
    """Train theta under the mask that it has, on all training images and all patches.

    Args:
        model: theta; of the round before also the optimizer's moments, where the span carries them.
        mask: what the round before kept; in round 1 the one-shot mask.

    Raises:
        StageInputError: the loss is not finite.

    Source: Instant Soup Pruning, Algorithm 1.
    """
    own = Model.of(masks.masked(model.checkpoint, mask.keep), ctx.device)
    trainer = Trainer(
        own,
        data,
        cfg.recipe,
        ctx,
        derive(seed, "round train", cfg.round),
        keep=mask.keep,
        span=cfg.span,
        moments=carried(model, cfg.span),
    )
    try:
        loss = trainer.steps(cfg.span.steps)
    except StageInputError as error:
        raise StageInputError(f"issp, training before prune {cfg.round}: {error}") from None
    state = {name: t.detach().cpu().clone() for name, t in trainer.optimizer_state().items()}
    return RoundTrained(own.checkpoint(), state, cfg.span.steps, loss)


def carried(model: object, span: Span | None) -> dict[str, Tensor]:
    """The moments with which a training that goes on from `model` starts; empty = none."""
    if isinstance(model, RoundTrained) and span is not None and span.carry:
        return model.optimizer
    return {}
