"""A recovery that is stopped early: one rung of successive halving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from pydantic import Field

from trials.context import Context, Epoch
from trials.errors import StageInputError
from trials.model.vit import Checkpoint
from trials.stage import stage
from trials.stages.finetune import RecoverConfig, Recovery, recovery, speed

if TYPE_CHECKING:
    from torch import Tensor


class RungConfig(RecoverConfig):
    """The whole recipe, `epochs` and its learning rates included, and where it is stopped."""

    stop: int = Field(ge=1, description="epochs after which the training is stopped")


@dataclass(frozen=True, slots=True)
class Rung:
    """An unfinished recovery: enough to go on bit for bit, and what it reached so far.

    Attributes:
        optimizer: see `Trainer.optimizer_state`.
        history: validation on whole images after each epoch; test images are never seen.
        steps: optimizer steps made.
        images_per_s: median training speed over the epochs, evaluation excluded.
    """

    checkpoint: Checkpoint
    optimizer: dict[str, Tensor]
    history: tuple[Epoch, ...]
    steps: int
    images_per_s: float

    @property
    def val_accuracy(self) -> float:
        """After the last epoch."""
        return self.history[-1].val_accuracy


@stage("rung", version=1)
def rung(
    cfg: RungConfig,
    ctx: Context,
    *,
    seed: int,
    before: Rung | None,
    **inputs: Unpack[Recovery],
) -> Rung:
    """The first `cfg.stop` epochs of `finetune`, under the schedule of all `cfg.epochs`.

    Args:
        before: the rung below of the same training, to go on from; None = from the start.

    Raises:
        StageInputError: the rung below is not below.

    Source: Jamieson & Talwalkar 2016 (successive halving). The schedule is that of the full
    budget, so that a rung is a part of the training that it stands for.
    """
    trainer = recovery(cfg, ctx, seed, inputs)
    if before is not None:
        if len(before.history) >= cfg.stop:
            raise StageInputError(
                f"rung: stops after {cfg.stop} epochs, but the rung below already has "
                f"{len(before.history)}; rungs must rise"
            )
        trainer.resume(before.checkpoint.state, before.optimizer, before.history, before.steps)
    history = trainer.epochs(cfg.epochs, stop=cfg.stop)
    checkpoint = trainer.model.checkpoint()
    state = {name: t.detach().cpu().clone() for name, t in trainer.optimizer_state().items()}
    return Rung(checkpoint, state, history, trainer.done, speed(history))
