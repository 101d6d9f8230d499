"""What a sweep file says of tokens that leave, or merge, inside the network."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trials.stage import StageConfig

Method = Literal["none", "evit", "tome", "dynamicvit", "random"]

Times = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_STAGES = ("blocks", "keep", "count")
READS: dict[Method, tuple[str, ...]] = {
    "none": (),
    "evit": (*_STAGES, "fuse", "shrink_start", "shrink_epochs", "train"),
    "tome": ("r", "r_schedule", "prop_attn", "metric", "merge", "train"),
    "dynamicvit": (
        *_STAGES,
        *("tau", "ratio_weight", "teacher_weight", "token_weight", "token_loss", "token_reduce"),
        *("backbone_lr", "hold", "freeze_embeddings", "predictor_lr", "reference_teacher"),
    ),
    "random": (*_STAGES, "fuse", "train", "random"),
}
"""The settings of each method, beside `method`."""

TRAINING = frozenset(READS["dynamicvit"][len(_STAGES) :]) | {
    *("shrink_start", "shrink_epochs", "train", "random")
}
"""Those that change no forward pass of a finished model."""


class ReductionConfig(StageConfig):
    """`reduction:` in a sweep file. A method reads its own settings and ignores the others'.

    DynamicViT trains badly at low `keep` without `finetune.grad_clip`: write 1.0, because losses
    that are not finite have been reported for 0.7 and below (issue 27 of its repository).
    """

    method: Method = Field(
        "none",
        description="how tokens leave inside the network: evit (attention of the class token), "
        "tome (alike tokens merge), dynamicvit (learned predictors), random (the control), or none",
    )
    blocks: Literal["quarters"] | tuple[int, ...] = Field(
        "quarters",
        description="block numbers from 0, at which tokens leave; quarters: a quarter, half and "
        "three quarters of the depth, (3, 6, 9) of 12; tome merges in every block",
    )
    keep: float = Field(
        0.7,
        gt=0,
        le=1,
        description="evit and random: the share of the patches entering a block that stays; "
        "dynamicvit: stage s keeps keep ** s of all",
    )
    count: Literal["published", "entering", "initial"] = Field(
        "published",
        description="shares of what: published: evit, random: of the patches that enter, rounded "
        "up; dynamicvit: keep ** s of the whole grid, rounded down; entering: dynamicvit: of the "
        "patches that a ticket leaves (its default with tickets); initial: evit, random: keep ** s "
        "of the whole grid, rounded down",
    )
    fuse: bool | Literal["normalised"] = Field(
        True,
        description="evit: the dropped tokens stay as one token, weighted by their attention, or "
        "by their share of it (normalised); random: keeps one patch more in its place",
    )
    r: int | tuple[int, ...] = Field(
        8, description="tome: tokens merged away in each block, or a list with a number per block"
    )
    r_schedule: Literal["constant", "decreasing"] = Field(
        "constant", description="tome; decreasing: linearly from 2 r in the first block to 0"
    )
    prop_attn: bool = Field(
        True, description="tome: a merged token gets attention in proportion to its patches"
    )
    metric: Literal["keys", "random"] = Field(
        "keys", description="tome: what tells who is alike; random: a control"
    )
    merge: Literal["mean", "drop"] = Field(
        "mean", description="tome: drop: the same tokens leave without being merged; a control"
    )
    shrink_start: int = Field(0, ge=0, description="evit: epochs at keep 1 before it falls")
    shrink_epochs: int = Field(0, ge=0, description="evit: epochs in which keep falls, by a cosine")
    train: bool = Field(
        True, description="false: the finished model is reduced as it is, without training"
    )
    random: Literal["fresh", "fixed"] = Field(
        "fresh", description="method random: other patches at every pass, or fixed for each image"
    )
    tau: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="dynamicvit: temperature of the Gumbel softmax"
    )
    ratio_weight: Times = Field(2.0, description="dynamicvit: weight of the kept-share loss")
    teacher_weight: Times = Field(0.5, description="dynamicvit: weight of KL(teacher || model)")
    token_weight: Times = Field(0.5, description="dynamicvit: weight of the loss on kept tokens")
    token_loss: Literal["mse", "kl"] = Field(
        "mse", description="dynamicvit: kept tokens against the teacher's: mse (DeiT), kl (LV-ViT)"
    )
    token_reduce: Literal["mean", "sum"] = Field(
        "mean", description="dynamicvit, mse: over channels: mean (its code), sum (its equation 13)"
    )
    backbone_lr: Times = Field(
        0.01, description="dynamicvit: learning rate of all other weights, times predictor_lr"
    )
    hold: float = Field(
        1 / 6,
        ge=0,
        lt=1,
        description="dynamicvit: share of the epochs, rounded down, in which only predictors train",
    )
    freeze_embeddings: bool = Field(
        True, description="dynamicvit: class token and position embedding are not trained"
    )
    predictor_lr: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="dynamicvit: of the predictors"
    )
    reference_teacher: Literal["dense", "pretrained"] = Field(
        "dense", description="dynamicvit: teacher: the adapted model or the pretrained one"
    )

    @field_validator("blocks")
    @classmethod
    def _ascending(cls, blocks: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(blocks, tuple) and (
            not blocks or blocks[0] < 0 or list(blocks) != sorted(set(blocks))
        ):
            raise ValueError("must be quarters, or block numbers from 0, ascending, each once")
        return blocks

    @field_validator("r")
    @classmethod
    def _not_negative(cls, r: int | tuple[int, ...]) -> int | tuple[int, ...]:
        numbers = r if isinstance(r, tuple) else (r,)
        if not numbers or min(numbers) < 0:
            raise ValueError("must be 0 or more tokens, one number or a list of one per block")
        return r

    @model_validator(mode="after")
    def _consistent(self) -> "ReductionConfig":
        if self.method == "tome" and isinstance(self.r, tuple) and self.r_schedule != "constant":
            raise ValueError(f"r_schedule = {self.r_schedule} needs one number r, not a list")
        if self.method == "dynamicvit" and not self.train:
            raise ValueError(
                "method = dynamicvit has predictors, which have to be trained: remove `train: "
                "false`, or write method: evit, tome or random"
            )
        if self.method == "dynamicvit" and self.count == "initial":
            raise ValueError("count = initial is evit's: dynamicvit has published and entering")
        return self

    def read(self) -> "ReductionConfig":
        """With every setting that the method does not read at its default."""
        return self._only(READS[self.method])

    def inference(self) -> "ReductionConfig":
        """What of it a finished model still has, the rest at its default."""
        return self._only([name for name in READS[self.method] if name not in TRAINING])

    def _only(self, names: Sequence[str]) -> "ReductionConfig":
        known: dict[str, object] = {name: getattr(self, name) for name in names}
        return ReductionConfig.model_validate({"method": self.method} | known)

    @property
    def acts(self) -> bool:
        """Whether a token ever leaves; where none does, the model runs as it is."""
        if self.method == "tome":
            return max(self.r if isinstance(self.r, tuple) else (self.r,)) > 0
        return self.method != "none" and self.keep < 1

    @property
    def words(self) -> str:
        """`tome, r 8` or `evit, keep 0.7, not fused`."""
        if self.method == "tome":
            return f"tome, r {self.r}"
        loose = ", not fused" if self.method == "evit" and self.fuse is False else ""
        return f"{self.method}, keep {self.keep:g}{loose}"

    @property
    def predicts(self) -> bool:
        """Whether there are predictors to train, which a dense model teaches."""
        return self.method == "dynamicvit" and self.acts

    @property
    def draws(self) -> bool:
        """Whether an evaluation needs noise (DynamicViT's training does as well)."""
        return self.method == "random" or (self.method == "tome" and self.metric == "random")

    def resolved(self, *, tickets: bool) -> "ReductionConfig":
        """Plain settings: with tickets DynamicViT counts what they leave, if nothing is written."""
        open_count = "count" not in self.model_fields_set
        if tickets and open_count and self.method == "dynamicvit":
            return self.model_copy(update={"count": "entering"})
        return self

    def stages(self, depth: int) -> tuple[int, ...]:
        """The blocks at which tokens leave, of a model with `depth` blocks.

        Raises:
            ValueError: the model has no such block.
        """
        if self.method in ("none", "tome"):
            return ()
        if isinstance(self.blocks, str):
            return tuple(sorted({depth * quarter // 4 for quarter in (1, 2, 3)}))
        if self.blocks[-1] >= depth:
            raise ValueError(
                f"reduction.blocks = {list(self.blocks)}: the model has blocks 0 to {depth - 1}"
            )
        return self.blocks

    def merges(self, depth: int) -> tuple[int, ...]:
        """ToMe's r of every block, before it is capped by what is there.

        Raises:
            ValueError: a list of another length.
        """
        if isinstance(self.r, tuple):
            if len(self.r) != depth:
                raise ValueError(
                    f"reduction.r has {len(self.r)} numbers, and the model {depth} blocks: write "
                    "one for each"
                )
            return self.r
        if self.r_schedule == "constant" or depth == 1:
            return (self.r,) * depth
        return tuple(2 * self.r * (depth - 1 - block) // (depth - 1) for block in range(depth))

    def at(self, epoch: float) -> "ReductionConfig":
        """The settings at a moment of a training that lets `keep` fall; evit's only.

        Args:
            epoch: epochs done, with a fraction.
        """
        if self.method != "evit":
            return self
        into = epoch - self.shrink_start
        if into >= self.shrink_epochs:
            return self
        falling = 0.0 if into < 0 else 0.5 * (1 - math.cos(math.pi * into / self.shrink_epochs))
        return self.model_copy(update={"keep": 1 - (1 - self.keep) * falling})

    def held_epochs(self, epochs: int) -> int:
        """In how many of a training's first epochs only DynamicViT's predictors train."""
        return math.floor(round(self.hold * epochs, 9))


def tokens_text(tokens: Sequence[tuple[int, int]]) -> str:
    """Tokens per block in one line.

    >>> tokens_text([(65, 49), (49, 33), (33, 17), (17, 9)])
    '65/49/33/17 → 9'
    """
    return f"{'/'.join(str(entering) for entering, _ in tokens)} → {tokens[-1][1]}"
