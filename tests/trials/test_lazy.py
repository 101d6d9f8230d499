import sys

import pytest
import torch as real
from torch.nn import functional

from trials.lazy import F, LazyModule, torch


def test_a_lazy_module_has_what_the_module_has() -> None:
    assert torch.Tensor is real.Tensor
    assert F.cross_entropy is functional.cross_entropy
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        torch.nothing  # noqa: B018


def test_a_module_is_imported_when_something_of_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    lazy = LazyModule("colorsys")
    assert "colorsys" in repr(lazy)
    assert "colorsys" not in sys.modules
    assert lazy.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert "colorsys" in sys.modules


def test_what_is_replaced_in_the_module_is_replaced_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch.zeros is real.zeros
    monkeypatch.setattr(real, "zeros", "replaced")
    assert torch.zeros == "replaced"
