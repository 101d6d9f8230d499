"""Randomness as a function of names: no state to save, so resumed work draws the same numbers."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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


@contextmanager
def global_seed(seed: int, *names: str | int) -> Iterator[None]:
    """Seed torch's global generators (dropout, weight initialisation) and restore them after."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(seed, *names))
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
