"""One tiny model of every kind that works: what all tests of kinds of models run on.

A new kind is one row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trials.model import vit
from trials.model.module import Model
from trials.model.vit import Checkpoint, ModelConfig

SMALL: dict[str, Any] = {
    "img_size": 8,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}


class Kind(NamedTuple):
    """A model of timm, and what makes it tiny.

    Attributes:
        class_token: whether it has one, from its paper.
        prefix: tokens before the patches.
    """

    name: str
    class_token: bool
    prefix: int
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed


MODELS: dict[str, Kind] = {
    "vit": Kind("vit_tiny_patch16_224", True, 1),
    "deit-distilled": Kind("deit_tiny_distilled_patch16_224", True, 2),
    "dinov2-reg": Kind("vit_small_patch14_reg4_dinov2", True, 5),
    "dinov2-swiglu": Kind("vit_giant_patch14_dinov2", True, 1),
    "reg-gap": Kind("vit_base_patch16_reg4_gap_256", False, 4),
    "siglip": Kind("vit_base_patch16_siglip_224", False, 0),
    "clip": Kind("vit_base_patch16_clip_224", True, 1),
    "aimv2": Kind("aimv2_large_patch14_224", False, 0),
    "parallel": Kind("vit_base_patch16_xp_224", True, 1),
    "parallel-things": Kind("vit_small_patch16_18x2_224", True, 1),
    "differential": Kind("vit_dlittle_patch16_reg1_gap_256", False, 1),
    "differential-parallel-things": Kind(
        "vit_small_patch16_18x2_224", True, 1, {"attn_layer": "diff"}
    ),
    "dinov3": Kind("vit_small_patch16_dinov3", True, 5),
    "eva02": Kind("eva02_tiny_patch14_224", True, 1),
    "eva": Kind("eva_giant_patch14_224", True, 1),
    "eva-map": Kind("vit_pe_core_tiny_patch16_384", True, 1),
    "rope-mixed": Kind("vit_base_patch16_rope_mixed_224", True, 1),
    "beit": Kind("beit_base_patch16_224", True, 1),
    "beit-shared-bias": Kind("beitv2_base_patch16_224", True, 1, {"use_shared_rel_pos_bias": True}),
}


def config(name: str, **extra: Any) -> ModelConfig:
    """A kind's `model:` section; keyword arguments go to timm."""
    kind = MODELS[name]
    return ModelConfig(name=kind.name, pretrained=False, kwargs=SMALL | kind.kwargs | extra)


def drawn(name: str, seed: int = 0, **extra: Any) -> Checkpoint:
    """A kind's random weights, none of which stays at the 0 or 1 that timm starts it with."""
    made = vit.create(config(name, **extra), classes=10, channels=1, seed=seed)
    noise = torch.Generator().manual_seed(seed)
    state = {n: t + 0.2 * torch.randn(t.shape, generator=noise) for n, t in made.state.items()}
    return Checkpoint(made.arch, state)


def images(count: int = 5) -> Tensor:
    """Preprocessed images for them."""
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


Make = Callable[..., Model]
"""Name and keyword arguments for timm -> a model on the CPU."""
