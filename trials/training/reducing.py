"""What a training has to know of tokens that leave inside the model which it trains.

Shapes: B images of a batch, P patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trials.context import Context
from trials.data.datasets import Dataset
from trials.lazy import torch
from trials.model.module import Model
from trials.reduction.config import ReductionConfig
from trials.reduction.sampled import draw_noise
from trials.seeding import derive, generator
from trials.training.evaluation import evaluate
from trials.training.objective import Objective, Predicted, Supervised
from trials.training.recipe import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDINGS = ("cls_token", "pos_embed")

MIXED = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""The constants of splitmix64 (Steele et al. 2014)."""


@dataclass(frozen=True, slots=True)
class Reducing:
    """A reduction that is trained.

    Attributes:
        config: all its settings; the model carries those that it still has when it is finished.
        seed: of what it draws.
        teacher: DynamicViT's; None = no other model is asked.
    """

    config: ReductionConfig
    seed: int
    teacher: Model | None = None

    @property
    def others(self) -> float:
        """Factor on the learning rate of all that is no predictor."""
        return self.config.backbone_lr if self.config.predicts else 1.0

    def held(self, epochs: int) -> int:
        """Epochs in which only the predictors train."""
        return self.config.held_epochs(epochs) if self.config.predicts else 0

    def freeze(self, model: Model) -> None:
        """Take the gradients of what is never trained."""
        if self.config.predicts and self.config.freeze_embeddings:
            for name in EMBEDDINGS:
                parameter = getattr(model.module, name, None)
                if parameter is not None:
                    parameter.requires_grad_(False)

    def objective(self, recipe: TrainConfig, device: torch.device) -> Objective | None:
        """What is minimised; None = what any training minimises."""
        if not self.config.predicts:
            return None
        if self.teacher is None:
            raise ValueError("dynamicvit: nobody teaches")
        return Predicted(recipe, self.config, device, self.teacher)

    def at(self, epoch: float) -> ReductionConfig | None:
        """The settings at a moment of the training; None = the model's own.

        Args:
            epoch: epochs done, with a fraction.
        """
        if self.config.method != "evit" or not self.config.shrink_start + self.config.shrink_epochs:
            return None
        return self.config.at(epoch)

    def scheduled(self, model: Model, data: Dataset, ctx: Context, done: int) -> dict[str, float]:
        """What a model gets right as it is trained now, where that is not yet how it will run.

        Args:
            done: epochs.
        """
        now = self.at(done)
        if now is None or now == self.config:
            return {}
        found = evaluate(model.reduced_by(now), data, "validation", ctx)
        return {"val_accuracy_scheduled": found.accuracy}

    def noise(self, model: Model, epoch: int) -> Noise | None:
        """What an epoch draws; None = nothing."""
        if not (self.config.draws or self.config.predicts):
            return None
        depth, patches = len(model.module.blocks), model.module.patch_embed.num_patches
        if self.config.method == "random" and self.config.random == "fixed":
            return Noise(self.config, depth, patches, derive(self.seed, "reduction", "train"), None)
        draw = generator(self.seed, "reduction", epoch)
        return Noise(self.config, depth, patches, 0, draw)

    def advice(self, recipe: TrainConfig) -> str:
        """What else may help where the loss is not finite."""
        if not self.config.predicts:
            return ""
        clip = "none" if recipe.grad_clip is None else f"{recipe.grad_clip:g}"
        return f"; dynamicvit: raise reduction.keep, or set finetune.grad_clip (now {clip})"


@dataclass(frozen=True, slots=True)
class Noise:
    """Numbers for the images of a batch, drawn on the host before it is cut.

    Attributes:
        seed: of numbers that an image has at every pass.
        draw: of new ones at every pass; None = they are fixed.
    """

    config: ReductionConfig
    depth: int
    patches: int
    seed: int
    draw: torch.Generator | None

    @property
    def bytes_of_an_image(self) -> int:
        """float32."""
        return 8 * self._stages * self.patches

    @property
    def _stages(self) -> int:
        tome = self.config.method == "tome"
        return self.depth if tome else len(self.config.stages(self.depth))

    def of(self, rows: Tensor) -> Tensor:
        """(B, stages, P, 2) float32 in [0, 1).

        Args:
            rows: int64 (B,): which training images.
        """
        if self.draw is not None:
            return draw_noise(self.config, self.depth, len(rows), self.patches, self.draw)
        return fixed_noise(self.seed, rows, self._stages, self.patches)


def fixed_noise(seed: int, rows: Tensor, stages: int, patches: int) -> Tensor:
    """Numbers that hang on the image alone, (B, stages, P, 2) float32 in [0, 1).

    A hash of (seed, image, place) in place of a table, which for a million images would take
    gigabytes.

    Source: splitmix64.
    """
    places = np.arange(stages * patches * 2, dtype=np.uint64)
    image = rows.numpy().astype(np.uint64)[:, None]
    with np.errstate(over="ignore"):
        mixed = _mix(_mix(image + np.uint64(seed)) + places)
    numbers = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    return torch.from_numpy(numbers.reshape(len(rows), stages, patches, 2))


def _mix(x: np.typing.NDArray[np.uint64]) -> np.typing.NDArray[np.uint64]:
    step, first, second = map(np.uint64, MIXED)
    x = x + step
    x = (x ^ (x >> np.uint64(30))) * first
    x = (x ^ (x >> np.uint64(27))) * second
    return x ^ (x >> np.uint64(31))


def objective_of(
    reducing: Reducing | None,
    recipe: TrainConfig,
    device: torch.device,
    teacher: Model | None,
    distill: float,
) -> Objective:
    """What a training minimises."""
    own = None if reducing is None else reducing.objective(recipe, device)
    return own or Supervised(recipe, device, teacher, distill)
