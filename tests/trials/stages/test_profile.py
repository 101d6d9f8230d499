from collections.abc import Callable
from typing import Any

import pytest

from trials import cost, vit
from trials.data import Dataset
from trials.stages.pretrained import PretrainedConfig
from trials.stages.profile import Profile, ProfileConfig, profile
from trials.train import Context
from trials.vit import Checkpoint, ModelConfig


@pytest.fixture
def run(
    small: Dataset, ctx: Context, tiny_model: Callable[..., ModelConfig]
) -> Callable[..., Profile]:
    def made(**cfg: Any) -> Profile:
        model = PretrainedConfig.of(tiny_model())
        return profile(ProfileConfig(model=model, **cfg), ctx, data=small)

    return made


def test_macs_follow_from_the_tokens_that_are_kept(
    run: Callable[..., Profile], checkpoint: Checkpoint
) -> None:
    shape = vit.shape_of(checkpoint.arch.name, checkpoint.arch.kwargs)
    found = run(patch_drop=0.25)
    assert found.macs == cost.forward_macs(shape, 12)
    assert found.macs_dense == cost.forward_macs(shape)
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
