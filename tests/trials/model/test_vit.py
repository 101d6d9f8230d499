from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trials.context import Context
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.errors import FormatError, ModelError
from trials.model import vit
from trials.model.module import Model
from trials.model.vit import Checkpoint, ModelConfig
from trials.sparsity import masks
from trials.training.evaluation import evaluate


def test_random_weights_follow_from_the_seed_and_disturb_no_other_draw(
    tiny_model: Callable[..., ModelConfig],
) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, again, other = (
        vit.create(tiny_model(), classes=10, channels=1, seed=seed).state for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_classes_and_channels_come_from_the_data_unless_the_file_says_otherwise() -> None:
    kwargs = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 1}
    cfg = ModelConfig(name="vit_tiny_patch16_224", pretrained=False, kwargs=kwargs)
    made = vit.create(cfg, classes=7, channels=1, seed=0)
    assert made.state["head.weight"].shape == (7, 8)
    assert made.state["patch_embed.proj.weight"].shape == (8, 1, 4, 4)
    fixed = cfg.model_copy(update={"kwargs": kwargs | {"num_classes": 5}})
    assert vit.create(fixed, classes=7, channels=1, seed=0).state["head.bias"].shape == (5,)


def test_an_unknown_model_is_refused_with_near_names() -> None:
    cfg = ModelConfig(name="vit_smal_patch16_224", pretrained=False)
    with pytest.raises(ModelError, match=r"near it: .*vit_small_patch16_224"):
        vit.create(cfg, classes=10, channels=3, seed=0)


def test_a_model_that_is_no_vision_transformer_is_refused() -> None:
    cfg = ModelConfig(name="resnet18", pretrained=False)
    with pytest.raises(
        ModelError, match="is a resnet of timm, which is none of its VisionTransformer"
    ):
        vit.create(cfg, classes=10, channels=3, seed=0)


def test_wrong_model_settings_are_refused(tiny_model: Callable[..., ModelConfig]) -> None:
    for extra in ({"num_heads": 5}, {"no_such_setting": 1}):
        with pytest.raises(ModelError, match=r"model\.kwargs: timm cannot build"):
            vit.create(tiny_model(**extra), classes=10, channels=1, seed=0)


@pytest.fixture
def weights_file(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_file(checkpoint.state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_a_weights_file_with_the_same_head_is_taken_whole(
    tiny_model: Callable[..., ModelConfig], checkpoint: Checkpoint, weights_file: Path
) -> None:
    cfg = tiny_model().model_copy(update={"pretrained": weights_file})
    made = vit.create(cfg, classes=10, channels=1, seed=None)
    assert all(torch.equal(made.state[n], t) for n, t in checkpoint.state.items())


def test_a_weights_file_with_another_head_gets_a_fresh_one(
    tiny_model: Callable[..., ModelConfig], checkpoint: Checkpoint, weights_file: Path
) -> None:
    cfg = tiny_model().model_copy(update={"pretrained": weights_file})
    made, other = (vit.create(cfg, classes=3, channels=1, seed=seed) for seed in (1, 2))
    assert made.state["head.weight"].shape == (3, 32)
    assert not torch.equal(made.state["head.weight"], other.state["head.weight"])
    same = [n for n in checkpoint.state if not n.startswith("head.")]
    assert all(torch.equal(made.state[n], checkpoint.state[n]) for n in same)


def test_a_weights_file_of_another_architecture_is_refused(
    tiny_model: Callable[..., ModelConfig], weights_file: Path
) -> None:
    cfg = tiny_model(depth=3).model_copy(update={"pretrained": weights_file})
    with pytest.raises(ModelError, match=r"12 tensors do not fit .*lacks blocks\.2"):
        vit.create(cfg, classes=10, channels=1, seed=0)


def test_a_pickled_weights_file_is_refused_unopened(
    tiny_model: Callable[..., ModelConfig], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    torch.save(checkpoint.state, tmp_path / "weights.pt")
    cfg = tiny_model().model_copy(update={"pretrained": tmp_path / "weights.pt"})
    with pytest.raises(FormatError, match="cannot be read as safetensors"):
        vit.create(cfg, classes=10, channels=1, seed=0)


def test_normalisation_comes_from_the_weights_unless_given(
    tiny_model: Callable[..., ModelConfig],
) -> None:
    made = vit.create(tiny_model(), classes=10, channels=1, seed=0)
    assert (made.arch.mean, made.arch.std) == ((0.5,), (0.5,))
    cfg = tiny_model().model_copy(update={"mean": (0.1,), "std": (0.2,)})
    given = vit.create(cfg, classes=10, channels=1, seed=0)
    assert (given.arch.mean, given.arch.std) == ((0.1,), (0.2,))
    cfg = tiny_model(in_chans=3).model_copy(update={"mean": (0.1, 0.2)})
    with pytest.raises(ModelError, match="need 3 values"):
        vit.create(cfg, classes=10, channels=3, seed=0)


@pytest.mark.parametrize(
    ("name", "prunable", "whole"),
    [
        ("vit_tiny_patch16_224", 5_308_416, 5_526_346),
        ("vit_small_patch16_224", 21_233_664, 21_669_514),
        ("vit_base_patch16_224", 84_934_656, 85_806_346),
    ],
)
def test_the_prunable_set_has_the_published_size(name: str, prunable: int, whole: int) -> None:
    with torch.device("meta"):
        cfg = ModelConfig(name=name, pretrained=False)
        made = vit.create(cfg, classes=10, channels=3, seed=0)
    assert masks.size(masks.prunable(made)) == prunable
    assert len(masks.prunable(made)) == 48
    assert masks.size(made.state) == whole


def test_the_real_weights_load_and_classify_real_images(
    vit_weights: Path, cifar10_root: Path, cpu: torch.device
) -> None:
    kwargs = {"img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 4, "num_heads": 4}
    cfg = ModelConfig(
        name="vit_tiny_patch16_224",
        pretrained=vit_weights,
        kwargs=kwargs | {"mlp_ratio": 2},
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    made = vit.create(cfg, classes=10, channels=3, seed=None)
    assert masks.size(masks.prunable(made)) == 524_288
    assert masks.size(made.state) == 546_186
    whole = data.load(DataConfig(name="cifar10", root=cifar10_root))
    part = data.Split(whole.test.images[:1000], whole.test.labels[:1000])
    slice_ = data.Dataset("slice", "", 10, part, part, part)
    accuracy = evaluate(Model.of(made, cpu), slice_, "test", Context()).accuracy
    # 74.55 % of all 10,000; three standard errors of 1,000 images are 4 points.
    assert accuracy == pytest.approx(0.7455, abs=0.042)
