"""Checkpoints of finished models: a file of weights whose header rebuilds the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials import container, formats
from trials.errors import FormatError
from trials.model.vit import Arch, Checkpoint
from trials.precision import precision_of
from trials.reduction.attached import Attached
from trials.stages.dense import Dense
from trials.stages.finetune import Finetuned

if TYPE_CHECKING:
    pass


def write_checkpoint(
    result: Dense | Finetuned, path: Path, key: str, class_names: Sequence[str] = ()
) -> None:
    """Weights with what rebuilds the model in the header.

    Args:
        class_names: of each output; empty = they do not enter the header.
    """
    arch = result.checkpoint.arch
    header = {
        "lotus_key": key,
        "timm_model": arch.name,
        "timm_kwargs": json.dumps(arch.kwargs),
        "mean": json.dumps(arch.mean),
        "std": json.dumps(arch.std),
    }
    if class_names:
        header["class_names"] = json.dumps(list(class_names))
    if arch.reduction is not None:
        header["reduction"] = json.dumps(asdict(arch.reduction))
    if arch.eval_precision != "float32":
        header["eval_precision"] = arch.eval_precision
    state: Any = result.checkpoint.state
    raw = any(isinstance(one, container.Raw) for one in state.values())
    save = container.save_raw if raw else formats.save_checkpoint
    path.parent.mkdir(parents=True, exist_ok=True)
    save(state, path, header)


def read_checkpoint(path: Path) -> Checkpoint:
    """The inverse of `write_checkpoint`.

    Raises:
        FormatError: damaged, or its header does not say what rebuilds the model.
    """
    header, state = formats.load_with_header(path)
    try:
        mean, std = (tuple(map(float, json.loads(header[name]))) for name in ("mean", "std"))
        known = json.loads(header.get("reduction", "null"))
        reduction = None if known is None else Attached(**known)
        if reduction is not None:
            _ = reduction.config  # raises where these are no settings
        kwargs = dict(json.loads(header["timm_kwargs"]))
        precision = precision_of(header.get("eval_precision", "float32"))
        arch = Arch(header["timm_model"], kwargs, mean, std, reduction, precision)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: the header does not describe a model ({error})") from None
    return Checkpoint(arch, state)
