"""Randomness as a function of names: no state to save, so resumed work draws the same numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.lazy import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose.

    >>> derive(0, "order", 1) == derive(0, "order", 1) != derive(0, "order", 2)
    True
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for one purpose. Draws on the CPU are the same whatever the device."""
    return torch.Generator().manual_seed(derive(seed, *names))


class Permutations:
    """Shuffles for one purpose, drawn one after the other, without torch.

    Each is what `torch.randperm` gives from `generator(seed, *names)`. Both draw 32 bits at a
    time from a Mersenne twister that the lower 32 bits of the seed have filled; numpy promises
    that its `RandomState` stays as it is. So a data set's split, and with it its digest, hangs
    on no version of torch, and whoever reads data need not import it.
    """

    def __init__(self, seed: int, *names: str | int) -> None:
        self._draw = np.random.RandomState(derive(seed, *names) & 0xFFFFFFFF)

    def next(self, count: int) -> NDArray[np.int64]:
        """The next one: int64 (count,), of 0..count - 1. From 2^32 / 20 on torch's differ."""
        left = np.arange(count, 1, -1, dtype=np.uint32)
        steps = self._draw.randint(2**32, size=len(left), dtype=np.uint32) % left
        order = list(range(count))
        for i, step in enumerate(steps.tolist()):
            order[i], order[i + step] = order[i + step], order[i]
        return np.array(order, dtype=np.int64)


@contextmanager
def global_seed(seed: int, *names: str | int) -> Iterator[None]:
    """Seed torch's global generators (dropout, weight initialisation) and restore them after."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        # For devices that are not there torch notes each call with its stack, a millisecond.
        everywhere = torch.accelerator.is_available()
        (torch if everywhere else torch.default_generator).manual_seed(derive(seed, *names))
        yield


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, only algorithms that give the same bits again with as many threads; others raise.

    A GPU is left as the process has it: there such algorithms cost speed, and cuBLAS takes part
    only where CUBLAS_WORKSPACE_CONFIG has been set before it was first used.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # Nothing reads memory that it has not written; filling it first would only take time.
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill
