from collections.abc import Callable
from typing import Any

import pytest
import torch

from trials.context import Context
from trials.data.datasets import Dataset
from trials.model import cost
from trials.model.capability import of_arch
from trials.model.vit import Checkpoint, ModelConfig
from trials.stages.pretrained import PretrainedConfig
from trials.stages.profile import Profile, ProfileConfig, profile
from trials.stages.tickets import Tickets
from trials.tokens import tickets as algebra


@pytest.fixture
def run(
    small: Dataset, ctx: Context, tiny_model: Callable[..., ModelConfig]
) -> Callable[..., Profile]:
    def made(tickets: Tickets | None = None, **cfg: Any) -> Profile:
        model = PretrainedConfig.of(tiny_model())
        return profile(ProfileConfig(model=model, **cfg), ctx, data=small, tickets=tickets)

    return made


def test_macs_follow_from_the_tokens_that_are_kept(
    run: Callable[..., Profile], checkpoint: Checkpoint
) -> None:
    model = of_arch(checkpoint.arch)
    found = run(patch_drop=0.25)
    assert found.macs == cost.forward_macs(model, 12)
    assert found.macs_dense == cost.forward_macs(model)
    assert found.macs < found.macs_dense


@pytest.mark.parametrize("removal", ["zero", "mean", "attention_mask"])
def test_only_gathering_saves_macs(run: Callable[..., Profile], removal: str) -> None:
    found = run(patch_drop=0.5, removal=removal)
    assert found.macs == found.macs_dense == run().macs


def test_parameters_are_counted_and_speeds_are_measured(
    run: Callable[..., Profile], checkpoint: Checkpoint
) -> None:
    found = run(patch_drop=0.5)
    assert found.parameters == sum(tensor.numel() for tensor in checkpoint.state.values())
    assert found.images_per_s > 0
    assert found.images_per_s_dense > 0


def test_macs_of_different_counts_are_the_mean_over_the_test_images(
    run: Callable[..., Profile], checkpoint: Checkpoint
) -> None:
    model = of_arch(checkpoint.arch)
    counts = [torch.arange(n) % 15 + 1 for n in (100, 40, 40)]
    counts[2][:3] = torch.tensor([16, 16, 2])
    draw = torch.Generator().manual_seed(0)
    uneven = Tickets(*(algebra.random_patches(len(c), 16, c, draw) for c in counts))
    by_hand = [cost.forward_macs(model, int(count)) for count in counts[2]]
    assert run(patch_drop=0.5, tickets=uneven).macs == pytest.approx(sum(by_hand) / 40, rel=1e-12)
    assert run(patch_drop=0.5, tickets=uneven, removal="zero").macs == cost.forward_macs(model)


def test_tickets_of_equal_counts_cost_what_their_number_says(run: Callable[..., Profile]) -> None:
    draw = torch.Generator().manual_seed(0)
    even = Tickets(*(algebra.random_patches(n, 16, 12, draw) for n in (100, 40, 40)))
    assert run(patch_drop=0.25, tickets=even).macs == run(patch_drop=0.25).macs
