"""Phase 1b: the data lottery tickets, the patches of each image that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trials.context import Context
from trials.seeding import generator
from trials.stage import StageConfig, stage
from trials.stages.attention import PatchScores
from trials.tokens import tickets as algebra

if TYPE_CHECKING:
    from torch import Tensor

Select = Literal["attention", "lowest", "random_fixed"]
Scope = Literal["image", "global"]


class TicketsConfig(StageConfig):
    """How many patches are dropped, and by what rule."""

    patch_drop: float = Field(0.0, ge=0, lt=1, description="fraction of the patches dropped")
    select: Select = Field("attention", description="attention, or a control")
    scope: Scope = Field("image", description="rank the patches of each image, or of a split")


@dataclass(frozen=True, slots=True)
class Tickets:
    """bool (images, patches) per split; at least one patch is kept in every row.

    With `scope: image` the same number in every row, K; with `global` K on average.
    """

    train: Tensor
    validation: Tensor
    test: Tensor

    @property
    def kept(self) -> float:
        """Patches kept per training image, on average: K."""
        return int(self.train.sum()) / len(self.train)


@stage("tickets", version=1)
def tickets(cfg: TicketsConfig, ctx: Context, *, seed: int | None, scores: PatchScores) -> Tickets:
    """Keep the patches with the highest scores, K = ceil((1 - patch_drop) * P) an image.

    `random_fixed` draws as many patches of each image as its own ticket has, so that only which
    ones is random.

    Args:
        seed: of `random_fixed`; None otherwise.
    """
    count = algebra.keep_count(scores.train.shape[1], cfg.patch_drop)

    def choose(split: str) -> Tensor:
        values: Tensor = getattr(scores, split)
        rank = algebra.select_patches if cfg.scope == "image" else algebra.select_globally
        keep = rank(values, count, lowest=cfg.select == "lowest")
        if cfg.select == "random_fixed":
            draw = generator(seed or 0, "random-fixed", split)
            keep = algebra.random_patches(len(keep), keep.shape[1], keep.sum(1), draw)
        return keep

    return Tickets(choose("train"), choose("validation"), choose("test"))
