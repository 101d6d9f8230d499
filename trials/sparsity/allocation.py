"""From scores to a keep-mask: how many weights survive in which tensor.

Every division is exact: the counts of the tensors add up to the count that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from trials.errors import StageInputError
from trials.lazy import torch
from trials.sparsity import masks
from trials.sparsity.criteria import Allocation
from trials.sparsity.masks import KeepMask, Scores

if TYPE_CHECKING:
    from torch import Tensor

UNSTRUCTURED = "unstructured"
LARGEST_GROUP = 64
LEVEL_TOLERANCE = 5e-4
"""How far a level may be from a pattern's sparsity: three decimals, as people write 1/3."""


def n_and_m(pattern: str) -> tuple[int, int]:
    """`2:4` -> (2, 4).

    Raises:
        ValueError: not N:M with 1 <= N < M <= 64.
    """
    match = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", pattern, re.ASCII)
    if match is None or not int(match[1]) < int(match[2]) <= LARGEST_GROUP:
        raise ValueError(
            f'must be {UNSTRUCTURED}, or "N:M" (keep N of every M weights) with '
            f"1 <= N < M <= {LARGEST_GROUP}"
        )
    return int(match[1]), int(match[2])


def pattern_sparsity(pattern: str) -> float:
    """1 - N/M.

    >>> pattern_sparsity("1:4")
    0.75
    """
    n, m = n_and_m(pattern)
    return 1.0 - n / m


def fits_pattern(level: float, pattern: str) -> bool:
    """Whether a level is the one sparsity that a pattern has."""
    return abs(level - pattern_sparsity(pattern)) < LEVEL_TOLERANCE


def _quoted(value: object) -> object:
    # YAML 1.1 reads 2:4 without quotes as a number to the base of sixty.
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError('must stand in quotes, as in pattern: "2:4"; YAML reads 2:4 as a number')
    return value


def _known(pattern: str) -> str:
    if pattern != UNSTRUCTURED:
        n_and_m(pattern)
    return pattern


Pattern = Annotated[
    str,
    BeforeValidator(_quoted),
    AfterValidator(_known),
    WithJsonSchema({"type": "string", "pattern": rf"^({UNSTRUCTURED}|[1-9][0-9]?:[1-9][0-9]?)$"}),
]
"""`unstructured`, or `N:M` with 1 <= N < M <= 64."""


def keep_mask(scores: Scores, count: int, allocation: Allocation) -> KeepMask:
    """Keep exactly `count` weights.

    Args:
        scores: name -> float (out, in).
        allocation: `global`: the highest scores of all tensors together, so that the masks of
            two counts nest. `layer`: the same sparsity in every tensor. `erk`: densities in
            proportion to (in + out) / (in * out), at most 1. Inside a tensor the highest scores.

    Raises:
        StageInputError: a score is NaN, or there are fewer weights than `count`.
    """
    if allocation == "global":
        return masks.top_k(scores, count)
    counts = tensor_counts(scores, count, allocation)
    return {name: masks.top_k({name: score}, counts[name])[name] for name, score in scores.items()}


def tensor_counts(
    tensors: Mapping[str, Tensor], count: int, allocation: Allocation
) -> dict[str, int]:
    """Survivors of each tensor for `layer` or `erk`; they add up to `count`."""
    sizes = [tensor.numel() for tensor in tensors.values()]
    if not 0 <= count <= sum(sizes):
        raise StageInputError(f"cannot keep {count} of {sum(sizes)} weights")
    # A density in proportion to (in + out) / (in * out) is a count in proportion to in + out.
    shares = [sum(t.shape) for t in tensors.values()] if allocation == "erk" else sizes
    counts = _largest_remainder(_quotas(shares, sizes, count), count)
    return dict(zip(tensors, counts, strict=True))


def _quotas(shares: Sequence[int], sizes: Sequence[int], count: int) -> list[Fraction]:
    """`count` divided in proportion to the shares; what a full tensor cannot take, others do."""
    full: set[int] = set()
    while True:
        left = count - sum(sizes[i] for i in full)
        weight = sum(share for i, share in enumerate(shares) if i not in full)
        quotas = [
            Fraction(size) if i in full else Fraction(left * share, weight)
            for i, (share, size) in enumerate(zip(shares, sizes, strict=True))
        ]
        over = {i for i, quota in enumerate(quotas) if quota > sizes[i]}
        if not over:
            return quotas
        full |= over


def _largest_remainder(quotas: Sequence[Fraction], count: int) -> list[int]:
    """Whole numbers that add up to `count`, each its quota rounded down or up; ties go first."""
    counts = [int(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda i: counts[i] - quotas[i])
    for i in order[: count - sum(counts)]:
        counts[i] += 1
    return counts


def n_of_m(scores: Scores, pattern: str) -> KeepMask:
    """Keep the N highest scores of every M consecutive weights of a row; ties go to the earlier.

    Groups lie along the input dimension, as sparse tensor cores want them for 2:4.

    Args:
        scores: name -> float (out, in).
        pattern: `N:M`.

    Raises:
        StageInputError: a score is NaN, or a tensor's rows do not divide into groups of M.

    Source: Mishra et al., Accelerating sparse deep neural networks (2021).
    """
    masks.check_scores(scores)
    n, m = n_and_m(pattern)
    for name, score in scores.items():
        if score.shape[1] % m:
            raise StageInputError(
                f"essential.pattern = {pattern}: {name} has {score.shape[1]} inputs, which do not "
                f"divide into groups of {m}. Choose an M that divides the model's width and its "
                "mlp width."
            )
    return {name: _best_of_groups(score, n, m) for name, score in scores.items()}


def _best_of_groups(score: Tensor, n: int, m: int) -> Tensor:
    groups = score.detach().reshape(-1, m)
    best = groups.argsort(dim=1, descending=True, stable=True)[:, :n]
    keep = torch.zeros_like(groups, dtype=torch.bool)
    return keep.scatter_(1, best, True).view(score.shape)
