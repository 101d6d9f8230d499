"""What timm says of a model's shape: the image that it takes, and what a pass costs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trials.model import answers
from trials.model.forward import Module
from trials.model.vit import Arch, build_empty, is_of_timm


@dataclass(frozen=True, slots=True)
class Shape:
    """What the cost of a forward pass depends on."""

    grid: tuple[int, int]
    prefix: int
    depth: int
    width: int
    hidden: int
    patch_inputs: int

    @property
    def patches(self) -> int:
        """Patches of a whole image."""
        return self.grid[0] * self.grid[1]


_SHAPES: dict[str, Shape] = {}


def shape_of(name: str, kwargs: Mapping[str, Any]) -> Shape:
    """The shape of a timm model, without allocating its weights; each is asked for only once.

    Raises:
        ModelError: unknown name, unusable kwargs, or not a VisionTransformer.
    """
    known = json.dumps([name, dict(kwargs)], sort_keys=True, default=repr)
    if known not in _SHAPES:
        found = answers.kept(
            ["shape", name, dict(kwargs)],
            lambda: dataclasses.asdict(_shape(build_empty(Arch(name, dict(kwargs), (), ())))),
            lambda: is_of_timm(name),
        )
        rows, columns = found.pop("grid")
        _SHAPES[known] = Shape((rows, columns), **found)
    return _SHAPES[known]


def _shape(model: Module) -> Shape:
    rows, columns = model.patch_embed.grid_size
    return Shape(
        grid=(rows, columns),
        prefix=model.num_prefix_tokens,
        depth=len(model.blocks),
        width=model.embed_dim,
        hidden=model.blocks[0].mlp.fc1.out_features,
        patch_inputs=model.patch_embed.proj.weight[0].numel(),
    )


def input_size(model: Module) -> tuple[int, int]:
    """Height and width in pixels that the model expects."""
    height, width = model.patch_embed.img_size
    return int(height), int(width)
