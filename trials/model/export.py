"""A trained model as files for other programs: a folder that plain timm reads, and ONNX.

config.json         timm's own description of a model folder, as the Hugging Face hub has it
model.safetensors   weights under timm's parameter names, masked ones exactly 0
README.md           the hub's model card
model.onnx          float32 `images` (N, C, H, W), normalised -> `logits` (N, classes)
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials import formats
from trials.errors import ModelError
from trials.lazy import torch
from trials.model import vit
from trials.model.module import Model
from trials.model.shape import input_size
from trials.model.weights import ANCHOR, classifiers

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, ONNX, CARD = "config.json", "model.safetensors", "model.onnx", "README.md"

AGREES = 1e-3
"""Largest difference between logits of ONNX and torch, relative to the largest logit."""


def timm_config(arch: vit.Arch, class_names: Sequence[str] = ()) -> dict[str, Any]:
    """What `timm.create_model("local-dir:FOLDER", pretrained=True)` reads as `config.json`.

    `hf-hub:ORG/NAME` reads the same once the folder is a repository: it is what timm's own
    `save_for_hf` writes. Images are resized as the pipeline resizes them: bicubic, the whole
    image, no crop.

    Args:
        class_names: of each logit; empty = unknown.
    """
    model = vit.build_empty(arch)
    height, width = input_size(model)
    heads = classifiers(model)
    return {
        # Without the tag of timm's weights: these are others.
        "architecture": arch.name.partition(".")[0],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": model.global_pool,
        "model_args": arch.kwargs,
        **({"label_names": list(class_names)} if class_names else {}),
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [len(arch.mean), height, width],
            "fixed_input_size": not arch.kwargs.get("dynamic_img_size", False),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(arch.mean),
            "std": list(arch.std),
            "num_classes": model.num_classes,
            "first_conv": ANCHOR.removesuffix(".weight"),
            "classifier": heads[0] if len(heads) == 1 else list(heads),
        },
    }


def write_timm_folder(
    checkpoint: vit.Checkpoint,
    folder: Path,
    header: dict[str, str],
    class_names: Sequence[str] = (),
) -> None:
    """Write `config.json` and `model.safetensors`.

    Args:
        header: goes into the header of the weights.
        class_names: of each logit; empty = unknown.
    """
    config = json.dumps(timm_config(checkpoint.arch, class_names), indent=2)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    formats.save_checkpoint(checkpoint.state, folder / WEIGHTS, header)


def usage() -> str:
    """How the folder is loaded, as Markdown for its card."""
    loads = 'timm.create_model("local-dir:FOLDER", pretrained=True)'
    return (
        "\n## Use\n\n```python\nimport timm\n\n"
        f"model = {loads}.eval()\n```\n\nMasked weights are exactly 0.\n"
    )


def write_onnx(checkpoint: vit.Checkpoint, path: Path) -> None:
    """Write the model as one ONNX file with a free batch size.

    Where onnxruntime is installed, it runs the file once, and its logits have to be torch's.

    Raises:
        ModelError: the packages that write ONNX are absent, or the file gives other logits.
    """
    if absent := [name for name in ("onnx", "onnxscript") if not _is_there(name)]:
        raise ModelError(
            f"ONNX needs {' and '.join(absent)}, absent here: pip install 'lotus-sweep[onnx]'"
        )
    model = Model.of(checkpoint, torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, len(checkpoint.arch.mean), *model.size, generator=draw)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            model.module.requires_grad_(False),
            (images,),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if _is_there("onnxruntime"):
        with torch.no_grad():
            _compare(path, images, model.module(images))


def _compare(path: Path, images: Tensor, expected: Tensor) -> None:
    """Run an ONNX file on three times as many images as it was made with.

    Raises:
        ModelError: its logits are not those of torch.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images.repeat(3, 1, 1, 1).numpy()})
    apart = (torch.from_numpy(found) - expected.repeat(3, 1)).abs().max()
    if not float(apart) <= AGREES * max(1.0, float(expected.abs().max())):
        path.unlink()
        raise ModelError(
            f"ONNX: the exported model gives other logits than torch (apart by {float(apart):.3g}):"
            " export safetensors, and report it with the versions of `lotus doctor`"
        )


def _is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
