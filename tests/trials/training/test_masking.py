"""Masked weights: exactly 0 whatever they were, and every other weight untouched."""

import pytest
import torch

from trials.training.masking import Masking

ODD = [1.5, -1.5, 0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-42, -1e-42]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_whatever_is_masked_becomes_zero_and_not_minus_zero(kind: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.tensor([ODD, ODD], dtype=kind))
    before = weight.detach().clone()
    keep = torch.stack([torch.zeros(len(ODD)), torch.ones(len(ODD))]).bool()
    Masking.of({"w": weight, "free": torch.ones(2)}, {"w": keep}).apply()
    assert torch.equal(
        weight[0].detach().view(torch.uint8), torch.zeros_like(before[0]).view(torch.uint8)
    )
    assert torch.equal(weight[1].detach().view(torch.uint8), before[1].view(torch.uint8))


def test_weights_that_an_optimizer_has_changed_are_masked_again() -> None:
    weight = torch.nn.Parameter(torch.randn(4, 3))
    keep = torch.arange(12).view(4, 3) % 2 == 0
    masking = Masking.of({"w": weight}, {"w": keep})
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        weight.square().sum().backward()
        optimizer.step()
        assert weight[~keep].any()
        masking.apply()
        assert not weight[~keep].any()
        assert weight[keep].all()


def test_a_layout_other_than_rows_is_masked_in_place() -> None:
    weight = torch.nn.Parameter(torch.randn(3, 4).t())
    keep = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = weight.detach().masked_fill(~keep, 0.0)
    Masking.of({"w": weight}, {"w": keep}).apply()
    assert torch.equal(weight.detach(), expected)
