"""Keep-mask algebra. True = the weight survives; sparsity = the fraction that does not.

Source: shared conventions of instant_soup and essential_sparsity (same prunable set); exact
counts because thresholding by `score > kth value` drops one too many and, on ties, everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from trials.errors import StageInputError
from trials.lazy import torch
from trials.model.capability import of_arch
from trials.sparsity import threshold

if TYPE_CHECKING:
    from torch import Tensor

    from trials.model.vit import Checkpoint

KeepMask = dict[str, "Tensor"]
"""Parameter name -> bool tensor of the parameter's shape."""

Scores = Mapping[str, "Tensor"]
"""Parameter name -> float tensor of the parameter's shape; higher = more worth keeping."""


class Masked(Protocol):
    """Any stage result that carries a keep-mask."""

    @property
    def keep(self) -> KeepMask:
        """The mask."""


def prunable(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights of every Linear in the blocks, in the order of the checkpoint's state.

    Not: patch and position embeddings, LayerNorm, biases, head. Which layers those are is
    read off the modules of the architecture, not off names.

    Raises:
        ModelError: timm cannot make the architecture.
    """
    names = of_arch(checkpoint.arch).prunable_names
    return {name: tensor for name, tensor in checkpoint.state.items() if name in names}


def size(mask: Mapping[str, Tensor]) -> int:
    """Number of weights that a mask (or a set of scores) covers, |P|."""
    return sum(tensor.numel() for tensor in mask.values())


def kept(mask: KeepMask) -> int:
    """Number of surviving weights."""
    return sum(int(tensor.sum()) for tensor in mask.values())


def sparsity(mask: KeepMask) -> float:
    """1 - kept / |P|: a fraction in [0, 1]."""
    return 1.0 - kept(mask) / size(mask)


def keep_count(total: int, sparsity_level: float) -> int:
    """How many of `total` weights survive at a sparsity: total - round(sparsity * total)."""
    if not 0.0 <= sparsity_level < 1.0:
        raise StageInputError(
            f"sparsity {sparsity_level} is not in [0, 1): it is a fraction, write 0.9 for 90 %"
        )
    return total - round(sparsity_level * total)


def top_k(scores: Scores, count: int, within: KeepMask | None = None) -> KeepMask:
    """Keep exactly the `count` highest scores over all tensors together.

    Ties go to the earlier weight (tensor order, then C order), as a stable descending sort
    would give, but in linear time and with a byte a weight beside them, the mask itself.

    Args:
        scores: name -> float tensor.
        count: survivors, 0..|P|; at most as many as `within` keeps.
        within: only these weights may survive.

    Raises:
        StageInputError: a score is NaN, names differ, or `count` is impossible.
    """
    check_scores(scores)
    if within is not None:
        check_same([dict(scores), within])
    available = size(scores) if within is None else kept(within)
    if not 0 <= count <= available:
        raise StageInputError(
            f"cannot keep {count} of {available} weights: the target sparsity is below what is "
            "already pruned. Raise `issp.target_sparsity` or lower `search.sparsity`."
        )
    if count == available:
        return _everything(scores, within)
    keep = {name: torch.zeros(score.shape, dtype=torch.bool) for name, score in scores.items()}
    if count > 0:
        _mark_largest(keep, scores, count, within)
    return keep


def _everything(scores: Scores, within: KeepMask | None) -> KeepMask:
    if within is None:
        return ones_like(scores)
    return {name: within[name].clone() for name in scores}


def _mark_largest(keep: KeepMask, scores: Scores, count: int, within: KeepMask | None) -> None:
    """Set the `count` highest allowed scores in `keep`, which is all False."""
    wide = any(score.dtype == torch.float64 for score in scores.values())

    def look() -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """A part of `keep`, its scores as integers in their order, and which are allowed."""
        for name, score in scores.items():
            flat, marks = score.detach().flatten(), keep[name].view(-1)
            allowed = None if within is None else within[name].flatten()
            for part in threshold.chunks(flat.numel()):
                own = None if allowed is None else allowed[part]
                yield marks[part], threshold.ordered(flat[part], wide=wide), own

    def numbers() -> Iterator[Tensor]:
        for _, found, allowed in look():
            yield found if allowed is None else found[allowed]

    least, ties = threshold.kth_largest(numbers, count, digits=4 if wide else 2)
    for marks, found, allowed in look():
        marks.copy_(found > least)
        if ties:
            equal = found == least
            first = (equal if allowed is None else equal & allowed).nonzero()[:ties, 0]
            marks[first] = True
            ties -= len(first)
        if allowed is not None:
            marks.logical_and_(allowed)


def check_scores(scores: Scores) -> None:
    """Raise when a score is not a number: no order would be right."""
    if bad := [name for name, tensor in scores.items() if bool(torch.isnan(tensor).any())]:
        raise StageInputError(f"scores of {bad} hold NaN: the model that gave them has diverged")


def check_same(masks: Sequence[Mapping[str, Tensor]]) -> None:
    """Raise unless all masks cover the same tensors with the same shapes."""
    if not masks:
        raise StageInputError("no masks to combine")
    first = {name: tuple(tensor.shape) for name, tensor in masks[0].items()}
    for i, mask in enumerate(masks[1:], start=1):
        shapes = {name: tuple(tensor.shape) for name, tensor in mask.items()}
        if odd := dict(first.items() ^ shapes.items()):
            raise StageInputError(
                f"masks 0 and {i} differ in {sorted(odd)}: all must come from one dense model"
            )


def ones_like(tensors: Mapping[str, Tensor]) -> KeepMask:
    """The mask that keeps everything."""
    return {name: torch.ones_like(t, dtype=torch.bool) for name, t in tensors.items()}


def union(masks: Sequence[KeepMask]) -> KeepMask:
    """Kept by at least one: the union of the KEPT sets (sparsity can only fall)."""
    return {name: count > 0 for name, count in votes(masks).items()}


def intersection(masks: Sequence[KeepMask]) -> KeepMask:
    """Kept by all, which is the complement of the union of the PRUNED sets."""
    return {name: count == len(masks) for name, count in votes(masks).items()}


def votes(masks: Sequence[KeepMask]) -> dict[str, Tensor]:
    """Per weight, how many masks keep it (int16)."""
    check_same(masks)
    return {
        name: torch.stack([mask[name] for mask in masks]).sum(0, dtype=torch.int16)
        for name in masks[0]
    }


def contains(outer: KeepMask, inner: KeepMask) -> bool:
    """Whether every weight that `inner` keeps is kept by `outer` too."""
    check_same([outer, inner])
    return all(bool((outer[name] | ~inner[name]).all()) for name in outer)


def jaccard(a: KeepMask, b: KeepMask) -> float:
    """|a ∩ b| / |a ∪ b| of the kept sets; 1.0 for two empty masks."""
    check_same([a, b])
    both = sum(int((a[name] & b[name]).sum()) for name in a)
    either = sum(int((a[name] | b[name]).sum()) for name in a)
    return both / either if either else 1.0


def pairwise_jaccard(masks: Sequence[KeepMask]) -> tuple[float, ...]:
    """Jaccard of all pairs, in the order of `itertools.combinations`."""
    return tuple(jaccard(a, b) for a, b in itertools.combinations(masks, 2))


def apply(state: Mapping[str, Tensor], mask: KeepMask) -> dict[str, Tensor]:
    """A copy of `state` with exactly 0 (not -0) where the mask does not keep."""
    if missing := mask.keys() - state.keys():
        raise StageInputError(f"the mask covers {sorted(missing)}, which the model does not have")
    return {
        name: tensor.masked_fill(~mask[name].to(tensor.device), 0.0)
        if name in mask
        else tensor.clone()
        for name, tensor in state.items()
    }


def masked(checkpoint: Checkpoint, keep: KeepMask) -> Checkpoint:
    """A copy with exactly 0 where the mask does not keep."""
    return replace(checkpoint, state=apply(checkpoint.state, keep))


def per_layer_sparsity(mask: KeepMask) -> dict[str, float]:
    """Parameter name -> fraction removed."""
    return {name: 1.0 - float(keep.double().mean()) for name, keep in mask.items()}
