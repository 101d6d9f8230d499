"""A trained model as files for other programs: a folder that plain timm reads, and ONNX.

config.json         timm's own description of a model folder
model.safetensors   weights under timm's parameter names, masked ones exactly 0
model.onnx          float32 `images` (N, C, H, W), normalised -> `logits` (N, classes)
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

from trials import formats
from trials.errors import ModelError
from trials.lazy import torch
from trials.model import vit
from trials.model.module import Model
from trials.model.shape import input_size

CONFIG, WEIGHTS, ONNX = "config.json", "model.safetensors", "model.onnx"


def timm_config(arch: vit.Arch) -> dict[str, Any]:
    """What `timm.create_model("local-dir:FOLDER", pretrained=True)` reads as `config.json`.

    Images are resized as the pipeline resizes them: bicubic, the whole image, no crop.
    """
    model = vit.build_empty(arch)
    height, width = input_size(model)
    return {
        "architecture": arch.name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "model_args": arch.kwargs,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [len(arch.mean), height, width],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(arch.mean),
            "std": list(arch.std),
            "num_classes": model.num_classes,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def write_timm_folder(checkpoint: vit.Checkpoint, folder: Path, header: dict[str, str]) -> None:
    """Write `config.json` and `model.safetensors`.

    Args:
        header: goes into the header of the weights.
    """
    config = json.dumps(timm_config(checkpoint.arch), indent=2)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    formats.save_checkpoint(checkpoint.state, folder / WEIGHTS, header)


def write_onnx(checkpoint: vit.Checkpoint, path: Path) -> None:
    """Write the model as one ONNX file with a free batch size.

    Raises:
        ModelError: the packages that write ONNX are absent.
    """
    if absent := [name for name in ("onnx", "onnxscript") if not _is_there(name)]:
        raise ModelError(
            f"ONNX needs {' and '.join(absent)}, absent here: pip install 'lotus-sweep[onnx]'"
        )
    model = Model.of(checkpoint, torch.device("cpu"))
    images = torch.zeros(2, len(checkpoint.arch.mean), *model.size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            model.module.requires_grad_(False),
            (images,),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
