"""Which masks are read, and how many are held."""

from typing import Any, cast

import pytest
import torch

from orchestrator.reading import overlap
from orchestrator.selection.overlap import Mask
from trials import formats


def packed(seed: int) -> Mask:
    keep = torch.rand((11, 7), generator=torch.Generator().manual_seed(seed)) < 0.4
    return Mask.of({"x": (formats.pack(keep).numpy(), keep.numel())})


def test_masks_beyond_the_bound_on_memory_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = packed(0)
    read = ((f"r{i}", mask.bits) for i in range(9))
    monkeypatch.setattr(overlap, "read_each", lambda *_: read)
    monkeypatch.setattr(overlap, "MOST_BYTES", 3 * mask.nbytes)
    assert len(overlap._read(cast(Any, None), [])) == 3
    assert next(read)[0] == "r4", "what is not held is not fetched either"
