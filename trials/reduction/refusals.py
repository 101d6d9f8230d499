"""Which models a method cannot reduce, in one line each, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trials.errors import ModelError
from trials.reduction.config import ReductionConfig
from trials.reduction.state import Module

BLOCK = "timm.models.vision_transformer.Block"
ATTENTION = "timm.layers.attention.Attention"
POOLS = ("token", "avg", "max", "avgmax")


class Facts(Protocol):
    """What of a model is read here."""

    @property
    def undivided(self) -> str:
        """Why its blocks cannot be run half by half; empty where they can."""

    @property
    def class_token(self) -> bool:
        """Whether it has one."""

    @property
    def pool(self) -> str:
        """timm's `global_pool`."""

    @property
    def width(self) -> int:
        """Channels of a token."""

    @property
    def drops(self) -> bool:
        """Whether it drops patches itself, in training."""

    @property
    def depth(self) -> int:
        """Blocks."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts of a module; one on the meta device will do."""

    undivided: str
    class_token: bool
    pool: str
    width: int
    drops: bool
    depth: int

    @classmethod
    def of(cls, model: Module) -> Seen:
        """Looks at a timm VisionTransformer."""
        return cls(
            undivided=undivided(model),
            class_token=model.cls_token is not None,
            pool=model.global_pool,
            width=model.embed_dim,
            drops=bool(getattr(model.patch_drop, "prob", 0)),
            depth=len(model.blocks),
        )


def refuse(config: ReductionConfig, model: Module) -> None:
    """Nothing, or the reason.

    Args:
        model: a timm VisionTransformer; one on the meta device will do.

    Raises:
        ModelError: the method cannot reduce it.
    """
    if config.method != "none" and (reason := why_not(config, Seen.of(model))):
        raise ModelError(reason)


def why_not(config: ReductionConfig, facts: Facts) -> str:
    """Why a method cannot reduce a model, beginning with the setting; empty where it can."""
    named = f"reduction.method = {config.method}"
    if facts.undivided:
        return f"{named}: {facts.undivided}"
    for reason in (_class_token(config, facts), _pool(config, facts), _width(config, facts)):
        if reason:
            return f"{named} {reason}"
    if facts.drops:
        return (
            f"{named}: model.kwargs.patch_drop_rate drops tokens inside the model as well: "
            "remove it"
        )
    try:
        config.stages(facts.depth)
        config.merges(facts.depth)
    except ValueError as error:
        return str(error)
    return ""


def undivided(model: Module) -> str:
    """Why a module's blocks cannot be run half by half; empty where they can.

    They can where they are timm's own, with timm's own attention.
    """
    cfg = getattr(model, "pretrained_cfg", None) or {}
    name = cfg.get("architecture") or type(model).__name__
    other = "choose another model or method: none"
    for number, block in enumerate(model.blocks):
        where = f"block {number} of {name}"
        if _kind(block) != BLOCK:
            return (
                f"{where} is a {type(block).__name__}, whose attention and MLP cannot be told "
                f"apart; {other}"
            )
        if _kind(block.attn) != ATTENTION:
            return (
                f"{where} has a {type(block.attn).__name__}, which is not softmax attention of "
                f"one q, k and v; {other}"
            )
        if getattr(block.attn, "gate", None) is not None:
            return f"{where} has a gated attention, which is not supported; {other}"
    return ""


def _kind(module: Module) -> str:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


def _class_token(config: ReductionConfig, facts: Facts) -> str:
    if config.method == "evit" and not facts.class_token:
        return "reads the class token, and this model has none: write method: tome"
    return ""


def _pool(config: ReductionConfig, facts: Facts) -> str:
    if config.method == "dynamicvit" and facts.pool != "token":
        return (
            f"trains with dropped tokens in the sequence, which global_pool = {facts.pool} would "
            "average in: write method: tome"
        )
    if config.method == "tome" and config.merge == "mean" and facts.pool not in POOLS:
        return (
            f"cannot weigh merged tokens in global_pool = {facts.pool!r}: write one of "
            f"{', '.join(POOLS)} in model.kwargs"
        )
    return ""


def _width(config: ReductionConfig, facts: Facts) -> str:
    if config.method == "dynamicvit" and facts.width % 4:
        return f"narrows {facts.width} channels to a quarter: it needs a multiple of 4"
    return ""
