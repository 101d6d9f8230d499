"""The k-th largest of very many scores, in linear time and with little memory beside them.

A float's bits, read as an integer, are in the order of the floats once those of negative ones are
turned round. So the k-th largest is found digit by digit, as a radix sort would: how many scores
have each value of the first 16 bits, which of these values the k-th has, and so on with the
scores that share it, until they fit into one chunk and can be selected from at once. Scores are
looked at in chunks, and no copy of all of them is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 20
"""Scores that are looked at together: some 30 MB of temporary numbers."""

DIGIT = 16
"""Bits of a digit; there are as many counters as it has values."""


def chunks(size: int) -> Iterator[slice]:
    """The places of a flat tensor of that size, in order."""
    for start in range(0, size, CHUNK):
        yield slice(start, min(start + CHUNK, size))


def ordered(scores: Tensor, *, wide: bool) -> Tensor:
    """Integers in the order of the scores; 0 and -0 are equal.

    Args:
        scores: floats without NaN.
        wide: compare with scores in float64.

    Returns:
        int64, of the range of int32 unless `wide`.
    """
    values = (scores.double() if wide else scores.float()) + 0.0  # -0 + 0 = 0
    bits = values.view(torch.int64 if wide else torch.int32).long()
    return torch.where(bits < 0, bits ^ (2**63 - 1 if wide else 2**31 - 1), bits)


def kth_largest(
    numbers: Callable[[], Iterator[Tensor]], count: int, digits: int
) -> tuple[int, int]:
    """The `count`-th largest of many integers.

    Args:
        numbers: gives them, int64, again each time it is called.
        count: from 1 to the number of them.
        digits: 2 for the range of int32, 4 for that of int64.

    Returns:
        It, and how many that equal it are among the `count` largest.
    """
    found, rank = 0, count
    for place in reversed(range(digits)):
        shift = DIGIT * place
        above = None if place == digits - 1 else found
        few = _at_once(_alike(numbers(), above, shift + DIGIT))
        if few is not None:
            value = int(few.kthvalue(len(few) - rank + 1).values)
            return value, rank - int((few > value).sum())
        sign = 1 << (DIGIT - 1) if above is None else 0  # counters begin at 0
        seen = torch.zeros(1 << DIGIT, dtype=torch.int64)
        for part in _alike(numbers(), above, shift + DIGIT):
            digit_of = ((part >> shift) + sign) & ((1 << DIGIT) - 1)
            seen += torch.bincount(digit_of, minlength=1 << DIGIT)
        not_smaller = seen.flip(0).cumsum(0).flip(0)
        digit = int((not_smaller >= rank).nonzero()[-1])
        rank -= int(not_smaller[digit] - seen[digit])
        found = (found << DIGIT) + digit - sign
    return found, rank


def _alike(parts: Iterator[Tensor], above: int | None, shift: int) -> Iterator[Tensor]:
    """Those numbers whose digits above are known; None: all of them."""
    return parts if above is None else (part[(part >> shift) == above] for part in parts)


def _at_once(parts: Iterator[Tensor]) -> Tensor | None:
    """All of them together; None where they are more than a chunk."""
    held, size = [], 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size > CHUNK:
            return None
    return torch.cat(held)
