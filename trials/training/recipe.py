"""How a model is trained, as settings."""

import math
from typing import Annotated, Literal

from pydantic import Field

from trials.precision import Precision
from trials.stage import Later, StageConfig


class DecayConfig(StageConfig):
    """How learning rate and weight decay differ between the tensors of a model."""

    no_decay: Annotated[Literal["vectors", "timm"], Later()] = Field(
        "vectors",
        description="tensors without weight decay: those with fewer than 2 axes; timm: also what "
        "the model lists, such as class token, registers and positions",
    )
    layer_decay: Annotated[float, Later()] = Field(
        1.0,
        gt=0,
        le=1,
        description="factor on the learning rate from each layer to the one below it; the head "
        "has the whole rate (BEiT: 0.65 to 0.9)",
    )


class TrainConfig(DecayConfig):
    """A recipe. Defaults: Essential Sparsity, Table 1, CIFAR-10."""

    lr: float = Field(2e-5, gt=0, description="peak learning rate")
    batch_size: int = Field(64, ge=1, description="images of one step")
    weight_decay: float = Field(2e-8, ge=0, description="AdamW; `no_decay` says where not")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="decay of the learning rate to 0 over all steps"
    )
    warmup_steps: int = Field(0, ge=0, description="linear warm-up from 0")
    grad_clip: float | None = Field(None, gt=0, description="largest gradient norm")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that all classes divide equally"
    )
    flip: bool = Field(False, description="random horizontal flip; tickets move with the image")
    crop: int = Field(
        0,
        ge=0,
        description="pixels of zero-padding of which a random crop is taken; with tickets only "
        "where they are scored online, because it breaks the patch grid",
    )
    precision: Precision = Field(
        "float32", description="bfloat16: autocast in forward and backward"
    )

    def rate(self, step: int, total: int) -> float:
        """Factor on the learning rate at a step (from 0) of `total`: no scheduler state."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        if self.schedule == "linear":
            return 1.0 - progress
        if self.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        return 1.0
