"""The k-th largest of very many scores, in linear time and with little memory beside them.

A float's bits, read as an integer, are in the order of the floats once those of negative ones are
turned round. So the k-th largest is found digit by digit, as a radix sort would: how many scores
have each value of the first 16 bits, which of these values the k-th has, and so on with the
scores that share it. Scores are looked at in chunks, and no copy of them is made. What fits into
one chunk is selected from at once: 65,536 counters would cost more than a small layer.
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
    if (few := _at_once(numbers())) is not None:
        value = int(few.kthvalue(len(few) - count + 1).values)
        return value, count - int((few > value).sum())
    found, rank = 0, count
    for place in reversed(range(digits)):
        shift, first = DIGIT * place, place == digits - 1
        sign = 1 << (DIGIT - 1) if first else 0  # counters begin at 0
        seen = torch.zeros(1 << DIGIT, dtype=torch.int64)
        for part in numbers():
            like = part if first else part[(part >> (shift + DIGIT)) == found]
            digit_of = ((like >> shift) + sign) & ((1 << DIGIT) - 1)
            seen += torch.bincount(digit_of, minlength=1 << DIGIT)
        not_smaller = seen.flip(0).cumsum(0).flip(0)
        digit = int((not_smaller >= rank).nonzero()[-1])
        rank -= int(not_smaller[digit] - seen[digit])
        found = (found << DIGIT) + digit - sign
    return found, rank


def _at_once(parts: Iterator[Tensor]) -> Tensor | None:
    """All of them together; None where they are more than a chunk."""
    held, size = [], 0
    for part in parts:
        size += len(part)
        if size > CHUNK:
            return None
        held.append(part)
    return torch.cat(held)
