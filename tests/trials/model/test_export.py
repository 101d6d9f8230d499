"""Model files for other programs: read back by timm itself and by an ONNX runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from trials.errors import ModelError
from trials.model import export, vit
from trials.model.module import Model

KWARGS = {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 32, "depth": 2,
          "num_heads": 2, "num_classes": 10}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint() -> vit.Checkpoint:
    cfg = vit.ModelConfig(
        name="vit_tiny_patch16_224", pretrained=False, kwargs=KWARGS, mean=(0.3,), std=(0.38,)
    )
    return vit.create(cfg, classes=10, channels=1, seed=3)


@pytest.fixture(scope="module")
def images(checkpoint: vit.Checkpoint) -> Tensor:
    pixels = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return Model.of(checkpoint, torch.device("cpu")).inputs(pixels.to(torch.uint8))


@pytest.fixture(scope="module")
def logits(checkpoint: vit.Checkpoint, images: Tensor) -> Tensor:
    with torch.no_grad():
        return Model.of(checkpoint, torch.device("cpu"))(images)


def test_timm_makes_the_same_model_from_the_folder(
    checkpoint: vit.Checkpoint, images: Tensor, logits: Tensor, tmp_path: Path
) -> None:
    export.write_timm_folder(checkpoint, tmp_path, {"lotus_key": "k"})
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(model(images), logits)
    config = timm.data.resolve_model_data_config(model)
    assert tuple(config["mean"]) == (0.3,)
    assert tuple(config["std"]) == (0.38,)
    assert tuple(config["input_size"]) == (1, 8, 8)
    assert config["interpolation"] == "bicubic"


def test_the_folder_lets_another_head_be_put_on(checkpoint: vit.Checkpoint, tmp_path: Path) -> None:
    export.write_timm_folder(checkpoint, tmp_path, {})
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3)
    assert model.head.weight.shape == (3, 32)
    own = model.state_dict()
    same = [n for n, t in checkpoint.state.items() if n in own and not n.startswith("head")]
    assert all(torch.equal(own[n], checkpoint.state[n]) for n in same)


@pytest.mark.slow
def test_an_onnx_runtime_gives_the_same_logits_for_any_batch_size(
    checkpoint: vit.Checkpoint, images: Tensor, logits: Tensor, tmp_path: Path
) -> None:
    import onnxruntime

    path = tmp_path / export.ONNX
    export.write_onnx(checkpoint, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        (found,) = session.run(["logits"], {"images": images[:count].numpy()})
        np.testing.assert_allclose(found, logits[:count].numpy(), rtol=1e-4, atol=1e-5)
    assert list(tmp_path.iterdir()) == [path], "one file, the weights inside"


def test_the_config_is_plain_json_with_the_models_own_arguments(checkpoint: vit.Checkpoint) -> None:
    config = json.loads(json.dumps(export.timm_config(checkpoint.arch)))
    assert config["architecture"] == "vit_tiny_patch16_224"
    assert config["model_args"] == KWARGS
    assert config["num_features"] == 32
    assert "label_names" not in config


def test_names_of_classes_go_where_timm_looks_for_them(
    checkpoint: vit.Checkpoint, tmp_path: Path
) -> None:
    names = [f"class {label}" for label in range(10)]
    export.write_timm_folder(checkpoint, tmp_path, {}, names)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == names


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 2}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "averaged": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    "a tag": ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", {}),
    "eva02": ("eva02_tiny_patch14_224", {}),
    "dinov3": ("vit_small_patch16_dinov3", {}),
    "rope": ("vit_base_patch16_rope_mixed_224", {}),
    "beit": ("beit_base_patch16_224", {}),
}


@pytest.fixture(params=MODELS)
def of_a_kind(request: pytest.FixtureRequest) -> vit.Checkpoint:
    name, kwargs = MODELS[request.param]
    cfg = vit.ModelConfig(name=name, pretrained=False, kwargs=KWARGS | kwargs)
    return vit.create(cfg, classes=10, channels=1, seed=3)


@pytest.mark.slow
def test_models_of_every_kind_load_in_timm_with_all_their_heads(
    of_a_kind: vit.Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    export.write_timm_folder(of_a_kind, tmp_path, {})
    own = Model.of(of_a_kind, torch.device("cpu"))
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    state = model.state_dict()
    assert state.keys() == of_a_kind.state.keys()
    assert all(torch.equal(state[n], t) for n, t in of_a_kind.state.items())
    with torch.no_grad():
        assert torch.equal(model(images), own(images))
    fresh = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3)
    assert fresh.state_dict()["head.weight"].shape == (3, 32)
    export.write_onnx(of_a_kind, tmp_path / export.ONNX)  # compares with torch by itself


def test_the_folder_is_what_timm_writes_for_the_hub(
    of_a_kind: vit.Checkpoint, tmp_path: Path
) -> None:
    model = Model.of(of_a_kind, torch.device("cpu")).module
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    ours = json.loads(json.dumps(export.timm_config(of_a_kind.arch)))
    for name in ("architecture", "num_classes", "num_features", "global_pool"):
        assert ours[name] == theirs[name], name
    # As the model runs here; timm keeps what DINOv3's own weights say of both.
    assert ours["pretrained_cfg"]["input_size"] == [1, 8, 8]
    assert ours["pretrained_cfg"]["fixed_input_size"] is True
    for name in ("custom_load", "first_conv", "classifier", "mean", "std", "interpolation",
                 "num_classes"):  # fmt: skip
        assert ours["pretrained_cfg"][name] == theirs["pretrained_cfg"][name], name
    assert ours.keys() == theirs.keys()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {export.CONFIG, export.WEIGHTS}


def test_an_onnx_file_that_disagrees_is_not_left(
    checkpoint: vit.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AGREES", -1.0)
    with pytest.raises(ModelError, match="gives other logits than torch"):
        export.write_onnx(checkpoint, tmp_path / export.ONNX)
    assert list(tmp_path.iterdir()) == []


def test_without_the_onnx_packages_the_error_says_what_to_install(
    checkpoint: vit.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ModelError, match=r"pip install 'lotus-sweep\[onnx\]'"):
        export.write_onnx(checkpoint, tmp_path / export.ONNX)
