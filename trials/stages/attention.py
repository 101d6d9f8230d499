"""Phase 1a: how much the scoring model attends to each patch of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from trials.context import Context
from trials.data.datasets import Dataset
from trials.lazy import torch
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.reduction.nested import nested_scores
from trials.stage import Later, StageConfig, stage
from trials.tokens import tickets
from trials.tokens.tickets import Score, Sink

if TYPE_CHECKING:
    from torch import Tensor

SCORE_BATCH = 256


class ReadAttention(StageConfig):
    """Where attention is read, whatever is made of it."""

    block: int = Field(-1, description="block whose attention is read; not used by rollout")
    sink: Sink = Field(
        "cls_mean",
        description="how a sink token's attention is replaced; cls_mean is none where the first "
        "token is a register and no class token",
    )
    nested_keep: Annotated[float | None, Later()] = Field(
        None,
        gt=0,
        le=1,
        description="with score: nested: share of the patches that each of the selector's three "
        "stages keeps; what is left after them is the ticket",
    )


class AttentionConfig(ReadAttention):
    """Which attention counts. `nested` reads that of three blocks, as it is: no sink is replaced.

    Attributes:
        attention: what it is in the model. In no key where it is the usual one, so that what was
            stored before other kinds were known stays valid.
    """

    score: Score = "cls"
    attention: Literal["softmax", "differential"] = Field(
        "softmax", exclude_if=lambda kind: kind == "softmax"
    )


class Scoring(Protocol):
    """A model whose attention is read: pretrained, adapted, or tuned for it."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Its weights."""


@dataclass(frozen=True, slots=True)
class PatchScores:
    """float32 (images, patches) per split; higher = more attention, or kept for longer."""

    train: Tensor
    validation: Tensor
    test: Tensor


@stage("attention", version=1)
def attention(cfg: AttentionConfig, ctx: Context, *, data: Dataset, model: Scoring) -> PatchScores:
    """Score every patch of every un-augmented image. Source: LOTUS section 3."""
    built = Model.of(model.checkpoint, ctx.device)

    def score(split: Literal["train", "validation", "test"]) -> Tensor:
        images, _ = data.on(ctx.device, split)
        at_once = ctx.at_once(SCORE_BATCH)
        return torch.cat(
            [
                score_images(cfg, built, built.inputs(images[start : start + at_once])).cpu()
                for start in range(0, len(images), at_once)
            ]
        )

    return PatchScores(score("train"), score("validation"), score("test"))


def score_images(
    cfg: AttentionConfig, model: Model, x: Tensor, at_once: int | None = None
) -> Tensor:
    """Scores (B, P) float32 of preprocessed images (B, C, H, W), on their device.

    Args:
        at_once: images in one forward pass; None = all.
    """
    module = model.module
    if cfg.score == "nested":
        return _nested(cfg, model, x, at_once)
    blocks = list(range(len(module.blocks))) if cfg.score == "rollout" else [cfg.block]
    found = []
    with torch.no_grad():
        for part in torch.split(x, at_once or len(x)):
            maps = model.attention(part, blocks)
            found.append(
                tickets.patch_scores(
                    maps,
                    cfg.score,
                    cfg.sink,
                    module.num_prefix_tokens,
                    class_token=model.has_class_token,
                )
            )
    return torch.cat(found)


def _nested(cfg: AttentionConfig, model: Model, x: Tensor, at_once: int | None) -> Tensor:
    if cfg.nested_keep is None:
        raise ValueError("score: nested needs nested_keep")
    with torch.no_grad():
        parts = torch.split(x, at_once or len(x))
        return torch.cat([nested_scores(model.module, part, cfg.nested_keep) for part in parts])
