"""Tiny random models for tests of token reduction, and what those compare with."""

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor

from trials.reduction import attach, reducer_of
from trials.reduction.config import ReductionConfig
from trials.reduction.sampled import draw_noise
from trials.reduction.walk import Walked, forward

PATCHES = 16
TINY = {
    "img_size": 8,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 32,
    "num_heads": 2,
    "num_classes": 10,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer scale": {"init_values": 0.3},
    "qk norm": {"qk_norm": True},
    "scale norm": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "registers": {"reg_tokens": 4},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "pre norm": {"pre_norm": True},
    "avg": {"global_pool": "avg"},
    "distilled": {"name": "deit_tiny_distilled_patch16_224"},
}

PREFIXES: dict[int, dict[str, Any]] = {
    0: {"class_token": False, "global_pool": "avg"},
    1: {},
    5: {"reg_tokens": 4},
}


def build(name: str = "vit_tiny_patch16_224", depth: int = 2, **extra: Any) -> Any:
    """A tiny random model in eval mode, with weights that timm would draw too small to matter."""
    model = timm.create_model(name, **(TINY | {"depth": depth} | extra))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))
    return model.eval()


def images(count: int = 3, seed: int = 0) -> Tensor:
    """Preprocessed, (count, 1, 8, 8)."""
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def settings(method: str, **more: Any) -> ReductionConfig:
    return ReductionConfig.model_validate({"method": method} | more)


def noise_for(config: ReductionConfig, model: Any, count: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return draw_noise(config, len(model.blocks), count, PATCHES, draw)


def reduced(
    config: ReductionConfig,
    model: Any,
    x: Tensor,
    kept: Tensor | None = None,
    noise: Tensor | None = None,
) -> Walked:
    """A forward pass with predictors attached and noise drawn as they are needed."""
    if config.method == "dynamicvit" and config.acts and not hasattr(model, "reducer"):
        attach(config, model, seed=0)
    if noise is None:
        noise = noise_for(config, model, len(x))
    return forward(model, x, reducer_of(config, model), kept, noise)


@dataclass(frozen=True)
class Sizes:
    """Of the tiny model, or of another."""

    patches: int = PATCHES
    prefix: int = 1
    depth: int = 2
    width: int = 32
    hidden: int = 128
    heads: int = 2
    patch_inputs: int = 4


DEIT_S = Sizes(patches=196, depth=12, width=384, hidden=1536, heads=6, patch_inputs=768)
