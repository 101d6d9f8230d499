from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import ModelError
from trials.model.vit import Checkpoint, ModelConfig
from trials.stages.pretrained import PretrainedConfig, pretrained

Tiny = Callable[..., ModelConfig]


@pytest.mark.parametrize(
    ("given", "weights"), [(True, "hub"), (False, "random"), (Path("x.safetensors"), "file")]
)
def test_the_identity_of_a_model_holds_no_path(
    tiny_model: Tiny, given: bool | Path, weights: str
) -> None:
    identity = PretrainedConfig.of(tiny_model().model_copy(update={"pretrained": given}))
    assert identity.weights == weights
    assert "x.safetensors" not in identity.model_dump_json()
    assert identity.kwargs == tiny_model().kwargs


def test_random_weights_follow_from_the_seed(
    tiny_model: Tiny, small: Dataset, ctx: Context
) -> None:
    cfg = PretrainedConfig.of(tiny_model())
    first, again, other = (
        pretrained(cfg, ctx, seed=seed, data=small, weights=None).checkpoint for seed in (0, 0, 1)
    )
    name = "blocks.0.mlp.fc1.weight"
    assert all(torch.equal(first.state[n], again.state[n]) for n in first.state)
    assert not torch.equal(first.state[name], other.state[name])
    assert first.state["head.weight"].shape == (small.classes, 32)


def test_a_files_weights_are_taken(
    tiny_model: Tiny, small: Dataset, ctx: Context, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(checkpoint.state, path)
    cfg = PretrainedConfig.of(tiny_model().model_copy(update={"pretrained": path}))
    found = pretrained(cfg, ctx, seed=None, data=small, weights=path).checkpoint
    assert all(torch.equal(found.state[n], t) for n, t in checkpoint.state.items())


def test_random_weights_ignore_a_file(
    tiny_model: Tiny, small: Dataset, ctx: Context, tmp_path: Path
) -> None:
    cfg = PretrainedConfig.of(tiny_model())
    named = pretrained(cfg, ctx, seed=0, data=small, weights=tmp_path / "absent").checkpoint.state
    plain = pretrained(cfg, ctx, seed=0, data=small, weights=None).checkpoint.state
    assert all(torch.equal(named[name], tensor) for name, tensor in plain.items())


def test_a_model_whose_patches_see_each_other_is_refused(ctx: Context, small: Dataset) -> None:
    cfg = PretrainedConfig(name="vit_tiny_r_s16_p8_224", weights="random", kwargs={"depth": 1})
    with pytest.raises(ModelError, match="a dropped patch would still be seen"):
        pretrained(cfg, ctx, seed=0, data=small, weights=None)
