"""What a model can do here: the one look at it that plans, `lotus doctor` and trials share.

timm builds it on the meta device, where nothing has values, and it is looked at there: what it
takes, what it gives, and what each pass multiplies. The answer is a plain value that
`trials.model.answers` keeps, a refusal included.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trials.errors import ModelError
from trials.lazy import torch
from trials.model import answers
from trials.model.counting import build_of, counted, formula_of, images_of
from trials.model.families import Module, family_of
from trials.model.forward import POOLS
from trials.model.shape import differential_modules, input_size
from trials.model.vit import BUILD_ERRORS, Arch, build_empty, is_of_timm, one_line
from trials.reduction.refusals import undivided

if TYPE_CHECKING:
    from torch import nn

EXAMINED = 2
"""Raise it when the same model gets another answer: older ones on disk are then not read."""


@dataclass(frozen=True, slots=True)
class Capability:
    """A model whose patches can be left out, as plain values.

    Attributes:
        family: as docs/models.md calls it.
        image, patch: height and width in pixels.
        channels, logits: of an image; of an answer.
        prefix: class, distillation and register tokens, before the patches.
        class_token: whether the first of them is a class token.
        depth: blocks.
        width: numbers of a token.
        heads: of the attention in its first block.
        pool: how the head looks at tokens, timm's `global_pool`.
        drops: the model drops patches itself, in training (`patch_drop_rate`).
        undivided: why its blocks cannot be run half by half, so that no token can leave inside;
            empty where they can.
        attention: `differential` where it is the difference of two.
        prunable: name, outputs and inputs of every Linear weight in the blocks, in timm's order.
        fixed, by_token, by_pair: multiply-accumulates of an image's pass, the classifier left
            out, which are fixed + by_token * n + by_pair * n^2 with n tokens.
        plain: whether that is 12 n d^2 + 2 n^2 d a block and the embedding, or rather what that
            formula says for another width of the mlp.
    """

    family: str
    image: tuple[int, int]
    patch: tuple[int, int]
    channels: int
    logits: int
    prefix: int
    class_token: bool
    depth: int
    width: int
    heads: int
    pool: str
    drops: bool
    undivided: str
    attention: Literal["softmax", "differential"]
    prunable: tuple[tuple[str, int, int], ...]
    fixed: int
    by_token: int
    by_pair: int
    plain: bool

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image[0] // self.patch[0], self.image[1] // self.patch[1]

    @property
    def patches(self) -> int:
        """Patches of a whole image."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_inputs(self) -> int:
        """Numbers in a patch."""
        return self.patch[0] * self.patch[1] * self.channels

    @property
    def hidden(self) -> float:
        """Channels inside the mlp: its multiply-accumulates of a token are 2 d hidden."""
        inside = sum(out * into for name, out, into in self.prunable if ".mlp." in name)
        return inside / (2 * self.width * self.depth)

    @property
    def prunable_names(self) -> frozenset[str]:
        """The names of the weights that can be pruned."""
        return frozenset(name for name, _, _ in self.prunable)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Capability:
        """From what JSON made of one."""
        given = dict(found)
        for name in ("image", "patch"):
            rows, columns = given[name]
            given[name] = (rows, columns)
        given["prunable"] = tuple((name, out, into) for name, out, into in given["prunable"])
        return cls(**given)


_KNOWN: dict[str, Capability | str] = {}


def capability_of(name: str, kwargs: Mapping[str, Any]) -> Capability:
    """What timm's model of that name can do, without its weights; each is looked at only once.

    Args:
        kwargs: for `timm.create_model`, `num_classes` and `in_chans` among them.

    Raises:
        ModelError: in one line, why it cannot be used: unknown name, unusable arguments, none of
            the families, or patches that do not stay apart.
    """
    key = json.dumps([name, dict(kwargs)], sort_keys=True, default=repr)
    if key not in _KNOWN:
        found = answers.kept(
            ["capability", EXAMINED, name, dict(kwargs)],
            lambda: _asked(name, dict(kwargs)),
            lambda: is_of_timm(name),
        )
        _KNOWN[key] = found["refused"] if "refused" in found else Capability.of(found)
    known = _KNOWN[key]
    if isinstance(known, str):
        raise ModelError(known)
    return known


def of_arch(arch: Arch) -> Capability:
    """What a checkpoint's model can do."""
    return capability_of(arch.name, arch.kwargs)


def _asked(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        model = build_empty(Arch(name, kwargs, (), ())).eval().requires_grad_(False)
        return dataclasses.asdict(_examined(name, model))
    except ModelError as error:
        return {"refused": one_line(error)}


def _examined(name: str, model: Module) -> Capability:
    """Look at a module on the meta device.

    Raises:
        ModelError: it cannot be used.
    """
    _check_embedding(name, model)
    _check_blocks(name, model)
    family, blocks, formula = family_of(model), model.blocks, formula_of(model)
    reason = undivided(model)
    # Equal blocks take and give the same, so that passes need only one of each.
    equal = Counter(map(build_of, blocks))
    model.blocks = torch.nn.Sequential(*{build_of(block): block for block in blocks}.values())
    logits = _check_passes(name, model)
    counts = counted(model, equal)
    return Capability(
        family=family.name,
        image=input_size(model),
        patch=tuple(model.patch_embed.patch_size),
        channels=model.patch_embed.proj.in_channels,
        logits=logits,
        prefix=model.num_prefix_tokens,
        class_token=family.has_class_token(model),
        depth=len(blocks),
        width=model.embed_dim,
        heads=int(getattr(getattr(blocks[0], "attn", None), "num_heads", 0)),
        pool=model.global_pool,
        drops=getattr(getattr(model, "patch_drop", None), "prob", 0.0) > 0,
        undivided=reason,
        attention="differential" if any(map(differential_modules, blocks)) else "softmax",
        prunable=tuple(
            (f"blocks.{part}.weight", layer.out_features, layer.in_features)
            for part, layer in blocks.named_modules()
            if isinstance(layer, torch.nn.Linear)
        ),
        fixed=counts[0],
        by_token=counts[1],
        by_pair=counts[2],
        plain=counts == formula,
    )


def _check_embedding(name: str, model: Module) -> None:
    """One convolution whose kernel is its stride, and nothing that mixes patches after it."""
    embed = model.patch_embed
    proj, size = getattr(embed, "proj", None), getattr(embed, "patch_size", ())
    plain = (
        isinstance(proj, torch.nn.Conv2d)
        and proj.kernel_size == proj.stride == size
        and (proj.padding, proj.dilation) == ((0, 0), (1, 1))
        and not _mixing(embed, but=(proj,))
    )
    if not plain:
        raise ModelError(
            f"model.name = {name} embeds patches by a {type(embed).__name__} that lets them see "
            "each other, so a dropped patch would still be seen: choose a model without a "
            "convolutional stem"
        )
    for side, pixels, patch in zip(("high", "wide"), input_size(model), size, strict=True):
        if pixels % patch:
            near = f"{pixels // patch * patch or patch} or {(pixels // patch + 1) * patch}"
            raise ModelError(
                f"model.kwargs.img_size: {name} takes images {pixels} pixels {side}, which do not "
                f"divide into patches of {patch}: write img_size {near}"
            )


def _check_blocks(name: str, model: Module) -> None:
    """One block or more, and nothing in them that mixes tokens but attention."""
    if not len(model.blocks):
        raise ModelError(f"model.kwargs.depth = 0: {name} has no blocks then; write 1 or more")
    if mixing := _mixing(model.blocks):
        raise ModelError(
            f"model.name = {name} has a {mixing} in its blocks, which mixes tokens outside of "
            "attention, so a dropped patch would still be seen"
        )


def _mixing(module: nn.Module, but: tuple[Any, ...] = ()) -> str:
    """The first layer that looks at more than one token; empty where none does."""
    nn = torch.nn
    kinds = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
    found = [m for m in module.modules() if isinstance(m, kinds) and m not in but]
    return type(found[0]).__name__ if found else ""


def _check_passes(name: str, model: Module) -> int:
    """Tokens and logits of a pass; the number of logits."""
    images = images_of(model)
    try:
        with torch.no_grad():
            tokens = family_of(model).embed(model, images).tokens
            logits = model(images)
    except (*BUILD_ERRORS, NotImplementedError) as error:
        raise ModelError(
            f"model.name = {name} cannot look at an image of its own size: {one_line(error)}"
        ) from error
    patches = model.num_prefix_tokens + model.patch_embed.num_patches
    if tokens.ndim != 3 or tokens.shape[1] != patches:
        raise ModelError(
            f"model.name = {name} makes {tuple(tokens.shape[1:])} of an image, not {patches} tokens"
        )
    if model.num_classes <= 0:
        raise ModelError(
            f"model.kwargs.num_classes = {model.num_classes}: {name} then gives features, not one "
            "logit a class: remove it, so that there is one for each class of the data"
        )
    if logits.ndim != 2:
        raise ModelError(
            f"model.kwargs.global_pool = {model.global_pool!r}: {name} then gives an answer for "
            f"every token, not one logit a class: write one of {', '.join(POOLS)}"
        )
    return int(logits.shape[1])
