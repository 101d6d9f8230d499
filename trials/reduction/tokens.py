"""How many tokens are in each block, and what a forward pass costs. Nothing here runs a model.

P patches of the whole grid, K patches that enter (all of them, or a ticket's), n tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from trials.reduction.config import ReductionConfig

BlockTokens = tuple[tuple[int, int], ...]
"""Per block the tokens in its attention and in its MLP, class and register tokens included."""


class Sizes(Protocol):
    """What of a model's shape is read here."""

    @property
    def patches(self) -> int:
        """Of the whole grid."""

    @property
    def prefix(self) -> int:
        """Class and register tokens."""

    @property
    def depth(self) -> int:
        """Blocks."""

    @property
    def width(self) -> int:
        """Channels of a token."""

    @property
    def hidden(self) -> float:
        """Channels inside the MLP: its MACs of a token are 2 d hidden."""

    @property
    def heads(self) -> int:
        """Of the attention."""

    @property
    def patch_inputs(self) -> int:
        """Numbers in a patch."""


def up(share: float, of: int) -> int:
    """The share of a number, rounded up; 9 decimals first, because 0.55 * 100 is 55.00…01."""
    return math.ceil(round(share * of, 9))


def down(share: float, of: int) -> int:
    """The share of a number, rounded down; 9 decimals first, because 0.7 * 10 may be 6.99…9."""
    return math.floor(round(share * of, 9))


def kept_patches(
    config: ReductionConfig, block: int, stage: int, there: int, *, whole: int, entered: int
) -> int:
    """Patches that survive a stage as themselves: EViT's fused token is not counted.

    Args:
        block: where the stage is.
        stage: its number, from 0.
        there: patches (and fused tokens) before the stage.
        whole: P.
        entered: K.

    Raises:
        ValueError: none would be left.
    """
    share, name = config.keep ** (stage + 1), f"block {block}"
    if config.method == "dynamicvit":
        of, name = entered if config.count == "entering" else whole, f"stage {stage + 1}"
        kept = down(share, of)
    elif config.count == "initial":
        of, kept = whole, down(share, whole)
    else:
        of, kept = there, up(config.keep, there)
    if kept < 1:
        kind = "patches" if config.method == "dynamicvit" else "tokens"
        raise ValueError(f"reduction.keep = {config.keep:g}: {name} would keep 0 of {of} {kind}")
    return min(kept, there)


def left_after(
    config: ReductionConfig, block: int, stage: int, there: int, *, whole: int, entered: int
) -> int:
    """Patches and fused tokens after a stage; arguments and errors as of `kept_patches`."""
    kept = kept_patches(config, block, stage, there, whole=whole, entered=entered)
    fuses = config.method in ("evit", "random") and config.fuse is not False
    return kept + int(fuses and kept < there)


def block_tokens(config: ReductionConfig, sizes: Sizes, kept: int | None = None) -> BlockTokens:
    """Tokens in attention and MLP of every block, at inference.

    Args:
        kept: K, patches that a ticket leaves; None = all.

    Raises:
        ValueError: a stage would keep nothing, `r` merges nothing in any block, or `blocks` and
            `r` do not fit the depth.
    """
    entered = sizes.patches if kept is None else kept
    if config.method == "tome":
        return _merging(config, sizes, entered)
    stages, there, found = config.stages(sizes.depth), entered, []
    for block in range(sizes.depth):
        before = there
        if config.acts and block in stages:
            stage = stages.index(block)
            there = left_after(config, block, stage, there, whole=sizes.patches, entered=entered)
        attending = there if config.method == "dynamicvit" else before
        found.append((sizes.prefix + attending, sizes.prefix + there))
    return tuple(found)


def _merging(config: ReductionConfig, sizes: Sizes, entered: int) -> BlockTokens:
    there, found = entered, []
    for wished in config.merges(sizes.depth):
        before, there = there, there - min(wished, there // 2)
        found.append((sizes.prefix + before, sizes.prefix + there))
    if config.acts and there == entered:
        patches = f"{entered} patch" + ("es" if entered != 1 else "")
        raise ValueError(
            f"reduction.r = {config.r}: the tickets leave {patches}, so nothing can be merged"
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of one image.

    Attributes:
        network: patch embedding and blocks, as in `trials.model.cost.forward_macs`.
        choosing: DynamicViT's predictors, or ToMe's similarities (which published figures leave
            out); EViT's attention is the block's own.
    """

    network: float
    choosing: float

    @property
    def total(self) -> float:
        """Both."""
        return self.network + self.choosing


def forward_macs(config: ReductionConfig, sizes: Sizes, kept: int | None = None) -> Macs:
    """MACs of one image's forward pass.

    P c d + Σ (4 n d² + 2 n² d + 2 m d hidden) with n, m tokens in attention and MLP of each
    block and c numbers in a patch. Choosing: DynamicViT n (d² + d² / 2 + d² / 8 + d / 2) for the
    n patches that each predictor sees; ToMe (n / 2)² d / heads per block.

    Raises:
        ValueError: see `block_tokens`.
    """
    d, tokens = sizes.width, block_tokens(config, sizes, kept)
    network = float(sizes.patches * sizes.patch_inputs * d)
    for n, m in tokens:
        network += n * 4 * d * d + 2 * n * n * d + m * 2 * d * sizes.hidden
    choosing = 0.0
    if config.acts and config.method == "tome":
        merging = [n for n, m in tokens if m < n]
        choosing = sum((n / 2) ** 2 * d / sizes.heads for n in merging)
    elif config.acts and config.method == "dynamicvit":
        entered = sizes.patches if kept is None else kept
        left = [entered, *(m - sizes.prefix for _, m in tokens)]
        choosing = _predicting(sizes, sum(left[block] for block in config.stages(sizes.depth)))
    return Macs(network, choosing)


def training_forward_macs(config: ReductionConfig, sizes: Sizes, kept: int | None = None) -> Macs:
    """MACs of one image's forward pass in training.

    DynamicViT keeps all tokens in the sequence, and each of its predictors sees all of them; the
    teacher is not counted. Otherwise `forward_macs`.
    """
    if config.method != "dynamicvit" or not config.acts:
        return forward_macs(config, sizes, kept)
    entered = sizes.patches if kept is None else kept
    whole = forward_macs(ReductionConfig(), sizes, kept).network
    return Macs(whole, _predicting(sizes, entered * len(config.stages(sizes.depth))))


def _predicting(sizes: Sizes, patches: int) -> float:
    """MACs of DynamicViT's predictors, which see so many patches in all."""
    d = sizes.width
    return patches * (d * d * 13 / 8 + d / 2)
