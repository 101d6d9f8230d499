"""Which models a method cannot reduce, in one line each, before anything is computed."""

from __future__ import annotations

from trials.errors import ModelError
from trials.reduction.config import ReductionConfig
from trials.reduction.state import Module

BLOCK = "timm.models.vision_transformer.Block"
ATTENTION = "timm.layers.attention.Attention"
POOLS = ("token", "avg", "max", "avgmax")


def refuse(config: ReductionConfig, model: Module) -> None:
    """Nothing, or the reason.

    Args:
        model: a timm VisionTransformer; one on the meta device will do.

    Raises:
        ModelError: the method cannot reduce it.
    """
    if config.method == "none":
        return
    _blocks(config, model)
    for reason in (_class_token(config, model), _pool(config, model), _width(config, model)):
        if reason:
            raise ModelError(f"reduction.method = {config.method} {reason}")
    if getattr(model.patch_drop, "prob", 0):
        raise ModelError(
            f"reduction.method = {config.method}: model.kwargs.patch_drop_rate drops tokens inside "
            "the model as well: remove it"
        )
    try:
        config.stages(len(model.blocks))
        config.merges(len(model.blocks))
    except ValueError as error:
        raise ModelError(str(error)) from error


def _blocks(config: ReductionConfig, model: Module) -> None:
    """Its blocks are timm's own, with timm's own attention."""
    cfg = getattr(model, "pretrained_cfg", None) or {}
    name = cfg.get("architecture") or type(model).__name__
    other = "choose another model or method: none"
    for number, block in enumerate(model.blocks):
        where = f"reduction.method = {config.method}: block {number} of {name}"
        if _kind(block) != BLOCK:
            raise ModelError(
                f"{where} is a {type(block).__name__}, whose attention and MLP cannot be told "
                f"apart; {other}"
            )
        if _kind(block.attn) != ATTENTION:
            raise ModelError(
                f"{where} has a {type(block.attn).__name__}, which is not softmax attention of "
                f"one q, k and v; {other}"
            )
        if getattr(block.attn, "gate", None) is not None:
            raise ModelError(f"{where} has a gated attention, which is not supported; {other}")


def _kind(module: Module) -> str:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


def _class_token(config: ReductionConfig, model: Module) -> str:
    if config.method == "evit" and model.cls_token is None:
        return "reads the class token, and this model has none: write method: tome"
    return ""


def _pool(config: ReductionConfig, model: Module) -> str:
    pool = model.global_pool
    if config.method == "dynamicvit" and pool != "token":
        return (
            f"trains with dropped tokens in the sequence, which global_pool = {pool} would average "
            "in: write method: tome"
        )
    if config.method == "tome" and config.merge == "mean" and pool not in POOLS:
        return (
            f"cannot weigh merged tokens in global_pool = {pool!r}: write one of "
            f"{', '.join(POOLS)} in model.kwargs"
        )
    return ""


def _width(config: ReductionConfig, model: Module) -> str:
    if config.method == "dynamicvit" and model.embed_dim % 4:
        return f"narrows {model.embed_dim} channels to a quarter: it needs a multiple of 4"
    return ""
