"""What a model's module says of itself: the image that it takes, its grid, kinds of attention."""

from __future__ import annotations

from typing import Any

from trials.model.families import Module


def input_size(model: Module) -> tuple[int, int]:
    """Height and width in pixels that the model expects."""
    height, width = model.patch_embed.img_size
    return int(height), int(width)


def differential_modules(block: Module) -> list[Any]:
    """The modules of a block that subtract one attention from another."""
    return [module for module in block.modules() if hasattr(module, "_compute_lambda")]
