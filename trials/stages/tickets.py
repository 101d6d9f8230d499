"""Phase 1b: the data lottery tickets, the patches of each image that are kept."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trials import tickets as algebra
from trials.seeding import generator
from trials.stage import StageConfig, stage
from trials.stages.attention import PatchScores
from trials.train import Context

Select = Literal["attention", "lowest", "random_fixed"]


class TicketsConfig(StageConfig):
    """How many patches are dropped, and by what rule."""

    patch_drop: float = Field(0.0, ge=0, lt=1, description="fraction of the patches dropped")
    select: Select = Field("attention", description="attention, or a control")


@dataclass(frozen=True, slots=True)
class Tickets:
    """bool (images, patches) per split; the same number of kept patches in every row."""

    train: Tensor
    validation: Tensor
    test: Tensor

    @property
    def kept(self) -> int:
        """Patches kept per image, K."""
        return int(self.train[0].sum())


@stage("tickets", version=1)
def tickets(cfg: TicketsConfig, ctx: Context, *, seed: int | None, scores: PatchScores) -> Tickets:
    """Keep the K = ceil((1 - patch_drop) * P) patches with the highest scores of each image.

    Args:
        seed: of `random_fixed`; None otherwise.
    """
    count = algebra.keep_count(scores.train.shape[1], cfg.patch_drop)

    def choose(split: str) -> Tensor:
        values: Tensor = getattr(scores, split)
        if cfg.select == "random_fixed":
            draw = generator(seed or 0, "random-fixed", split)
            values = torch.rand(values.shape, generator=draw)
        return algebra.select_patches(values, count, lowest=cfg.select == "lowest")

    return Tickets(choose("train"), choose("validation"), choose("test"))
