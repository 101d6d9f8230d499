"""What to write where the weights of a file are not those of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain

from trials.model.forward import Module

Shapes = Mapping[str, tuple[int, ...]]


def advice(shapes: Shapes, model: Module) -> str:
    """A sentence: the arguments of the model that the file asks for, or where else to look.

    Args:
        shapes: of the file, by name.
        model: that the file does not fit; may be on the meta device.
    """
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if not shapes:
        return "The file holds no tensors."
    if not {"cls_token", "pos_embed", "norm.weight"} & shapes.keys() and depth(shapes) == 0:
        some = ", ".join(list(shapes)[:3])
        return (
            f"Its names ({some}) are not timm's: take the file that timm's hub has of the model, "
            "or name its backbone with `lotus import FILE --prefix PREFIX`."
        )
    if wanted := list(chain(_sizes(shapes, own), _parts(shapes, own))):
        return f"Write {', '.join(wanted)}, or name the weights' own model in model.name."
    return "Check `model.name` and `model.kwargs`."


def depth(shapes: Shapes) -> int:
    """Number of blocks."""
    found = (re.match(r"blocks\.(\d+)\.", name) for name in shapes)
    return max((int(one[1]) + 1 for one in found if one), default=0)


def _sizes(shapes: Shapes, own: Shapes) -> Iterator[str]:
    if depth(shapes) != depth(own):
        yield f"model.kwargs.depth: {depth(shapes)}"
    width, wanted = _width(shapes), _width(own)
    if width and wanted and width != wanted:
        yield f"model.kwargs.embed_dim: {width} (and its num_heads)"
        return
    hidden = shapes.get("blocks.0.mlp.fc1.weight"), own.get("blocks.0.mlp.fc1.weight")
    if hidden[0] and hidden[1] and hidden[0] != hidden[1]:
        yield f"model.kwargs.mlp_ratio: {hidden[0][0] / hidden[0][1]:g}"


def _width(shapes: Shapes) -> int | None:
    found = shapes.get("patch_embed.proj.weight") or shapes.get("blocks.0.norm1.weight")
    return found[0] if found else None


def _parts(shapes: Shapes, own: Shapes) -> Iterator[str]:
    """Arguments that decide whether a part is there."""
    registers = shapes.get("reg_token", (0, 0))[1], own.get("reg_token", (0, 0))[1]
    if registers[0] != registers[1]:
        yield f"model.kwargs.reg_tokens: {registers[0]}"
    if "dist_token" in shapes and "dist_token" not in own:
        yield "a model.name with `distilled`"
        return
    if ("cls_token" in shapes) != ("cls_token" in own):
        yield f"model.kwargs.class_token: {str('cls_token' in shapes).lower()}"
    if "norm.weight" in shapes and "fc_norm.weight" in own:
        yield "model.kwargs.fc_norm: false"
    if "fc_norm.weight" in shapes and "fc_norm.weight" not in own:
        yield "model.kwargs.global_pool: avg"
    for name, argument, value in (
        ("blocks.0.ls1.gamma", "init_values", "1.0e-5"),
        ("blocks.0.attn.q_norm.weight", "qk_norm", "true"),
        ("norm_pre.weight", "pre_norm", "true"),
        ("blocks.0.attn.qkv.bias", "qkv_bias", "true"),
    ):
        if (name in shapes) != (name in own) and depth(shapes):
            yield f"model.kwargs.{argument}: {value if name in shapes else _off(argument)}"


def _off(argument: str) -> str:
    return "null" if argument == "init_values" else "false"
