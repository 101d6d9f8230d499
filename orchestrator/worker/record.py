"""What a trial and a shared stage leave in MLflow: metrics and artifacts, from stage results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.planning.plan import PlannedTrial
from orchestrator.storage.store import Entry
from orchestrator.worker.pictures import ticket_examples_png
from trials import formats
from trials.context import Epoch, Outcomes
from trials.data.datasets import Dataset
from trials.errors import FormatError
from trials.model.vit import Arch, Checkpoint
from trials.sparsity import masks
from trials.stages.denoise import Candidates
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, Picked, Probe
from trials.stages.evaluate import Final
from trials.stages.finetune import Finetuned
from trials.stages.issp import Issp
from trials.stages.profile import Profile
from trials.stages.rung import Rung
from trials.stages.soup_train import SoupTrained
from trials.stages.tickets import Tickets

if TYPE_CHECKING:
    from torch import Tensor

Metrics = dict[str, float | None]

DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The same text, in C where PyYAML was built with it: ten times as fast."""


def epoch_metrics(epoch: Epoch, stage: str = "finetune") -> Metrics:
    """One point of a learning curve."""
    return {
        f"{stage}/train_loss": epoch.train_loss,
        f"{stage}/val_loss": epoch.val_loss,
        f"{stage}/val_accuracy": epoch.val_accuracy,
    }


def stage_metrics(name: str, result: Any, dense: Dense | None) -> Metrics:
    """The metrics of one stage result.

    Args:
        name: of the stage in the trial (`essential`, `control`, ...).
        dense: the dense model, for counts paired by image.
    """
    compared = dense.validation if dense is not None else None
    found: Metrics = {}
    match result:
        case Dense():
            found = {
                "dense/val_accuracy": result.validation.accuracy,
                "dense/val_loss": result.validation.loss,
                "dense/test_accuracy": result.test.accuracy,
                "dense/val_n": len(result.validation.correct),
                "dense/test_n": len(result.test.correct),
            }
        case OneShot() | Issp():
            found = {
                f"{name}/val_accuracy": result.validation.accuracy,
                f"{name}/sparsity": masks.sparsity(result.keep),
                **_paired(f"{name}/val", compared, result.validation),
            }
        case Probe() if result.found is not None:
            found = {"probe/sparsity": result.sparsity}
            found |= stage_metrics("essential", result.found, dense)
        case Picked():
            found = {"essential/picked_sparsity": result.sparsity}
        case Candidates():
            overlap = result.jaccard or (1.0,)
            found = {
                "denoise/jaccard_mean": sum(overlap) / len(overlap),
                "denoise/jaccard_min": min(overlap),
                "denoise/train_loss_mean": sum(result.losses) / len(result.losses),
                # What the two polarities of the union would give: whether a merge can matter.
                "denoise/sparsity_union_kept": masks.sparsity(masks.union(result.keeps)),
                "denoise/sparsity_intersect_kept": masks.sparsity(masks.intersection(result.keeps)),
            }
        case SoupTrained():
            found = {
                f"{name}/val_accuracy": result.validation.accuracy,
                f"{name}/train_loss": result.loss,
                f"{name}/steps": result.steps,
                **_paired(f"{name}/val", compared, result.validation),
            }
        case Tickets():
            found = {"tickets/kept_patches": result.kept}
        case Finetuned():
            found = {"final/train_images_per_s": result.images_per_s}
        case Rung():
            found = {"rung/val_accuracy": result.val_accuracy}
        case Profile():
            found = {
                "profile/images_per_s": result.images_per_s,
                "profile/images_per_s_dense": result.images_per_s_dense,
            }
        case Final():
            found = _final_metrics(result, dense)
    return found


def curve_metrics(dense: Dense) -> Metrics:
    """What a level of the one-shot curve is compared with."""
    counts = stage_metrics("dense", dense, None)
    return {name: counts[name] for name in ("dense/val_accuracy", "dense/val_n")}


def _final_metrics(final: Final, dense: Dense | None) -> Metrics:
    """Whole images pair with `macs_dense`, what is deployed with `macs_deployed`."""
    validation, test = (dense.validation, dense.test) if dense else (None, None)
    return {
        "final/val_accuracy": final.validation.accuracy,
        "final/val_loss": final.validation.loss,
        "final/test_accuracy": final.test.accuracy,
        "final/test_accuracy_ticket": final.test_ticket.accuracy if final.test_ticket else None,
        "final/sparsity": final.sparsity,
        "final/sparsity_model": final.sparsity_model,
        "final/macs": final.macs,
        "final/macs_dense": final.macs_dense,
        "final/macs_selector": final.macs_selector,
        "final/macs_deployed": final.macs + final.macs_selector,
        "final/macs_training": final.macs_training,
        "final/epochs_to_near_dense": final.epochs_to_near_dense,
        "final/deployed_val_accuracy": final.deployed_validation.accuracy,
        "final/deployed_test_accuracy": final.deployed_test.accuracy,
        "final/val_n": len(final.validation.correct),
        "final/test_n": len(final.test.correct),
        **_paired("final/val", validation, final.validation),
        **_paired("final/test", test, final.test),
        **_paired("final/deployed_val", validation, final.deployed_validation),
        **_paired("final/deployed_test", test, final.deployed_test),
    }


def _paired(prefix: str, dense: Outcomes | None, own: Outcomes) -> Metrics:
    """Images that only the dense model, and that only this model, gets right."""
    if dense is None:
        return {}
    return {
        f"{prefix}_lost": int((dense.correct & ~own.correct).sum()),
        f"{prefix}_gained": int((~dense.correct & own.correct).sum()),
    }


def time_metrics(entries: Mapping[str, Entry], hits: Mapping[str, Entry]) -> Metrics:
    """Seconds of every stage of a trial, and what the store saved it.

    Args:
        entries: stage name -> entry, of the stages of this trial.
        hits: key -> entry, of the stages that this trial did not compute.
    """
    found: Metrics = {f"time/{name}_s": entry.seconds for name, entry in entries.items()}
    found["time/total_s"] = sum(entry.seconds for entry in entries.values())
    found["cache/hits"] = len(hits)
    found["cache/saved_s"] = sum(entry.seconds for entry in hits.values())
    return found


def write_trial(
    trial: PlannedTrial, results: Mapping[str, Any], data: Dataset, folder: Path, checkpoint: bool
) -> None:
    """Write a trial's artifacts below a folder, under the names of the interface.

    One that was stopped early has no final model, so nothing but its settings is of use.
    """
    settings = yaml.dump(trial.config.model_dump(mode="json"), Dumper=DUMPER)
    _text(folder / "config/trial.yaml", settings)
    if trial.config.rungs:
        return
    found = {
        "essential": results.get("essential"),
        "denoised": results.get("issp"),
        "final": results.get("control") or results.get("issp") or results.get("essential"),
    }
    kept = {name: result.keep for name, result in found.items() if result is not None}
    for name, mask in kept.items():
        formats.save_mask(mask, _place(folder / f"masks/{name}.safetensors"))
    if kept:
        layers = {name: masks.per_layer_sparsity(mask) for name, mask in kept.items()}
        _text(folder / "masks/sparsity.json", json.dumps(layers, indent=1))
    if "tickets" in results:
        write_tickets(trial, results["tickets"], data, folder)
    write_outcomes(results, folder)
    if checkpoint:
        write_checkpoint(results["finetune"], folder / "checkpoints/final.safetensors", trial.key)


def write_tickets(trial: PlannedTrial, tickets: Tickets, data: Dataset, folder: Path) -> None:
    """The kept patches of every training image, and a picture of some."""
    formats.save_tickets(
        tickets.train,
        _place(folder / "tickets/tickets.safetensors"),
        split="train",
        patch_drop=trial.config.patch_drop,
        data_digest=data.digest,
    )
    picture = ticket_examples_png(data.train.images, tickets.train)
    _place(folder / "tickets/examples.png").write_bytes(picture)


def write_outcomes(results: Mapping[str, Any], folder: Path) -> None:
    """Which images each model gets right: bits in image order, for comparisons made later."""
    final: Final = results["final"]
    dense: Dense = results["dense"]
    found: dict[str, Tensor] = {
        "dense.validation": dense.validation.correct,
        "dense.test": dense.test.correct,
        "final.validation": final.validation.correct,
        "final.test": final.test.correct,
        "deployed.validation": final.deployed_validation.correct,
        "deployed.test": final.deployed_test.correct,
    }
    for name in ("essential", "issp", "control"):
        if name in results:
            found[f"{name}.validation"] = results[name].validation.correct
    formats.save_mask(found, _place(folder / "outcomes/correct.safetensors"))


def write_checkpoint(result: Dense | Finetuned, path: Path, key: str) -> None:
    """Weights with what rebuilds the model in the header."""
    arch = result.checkpoint.arch
    header = {
        "lotus_key": key,
        "timm_model": arch.name,
        "timm_kwargs": json.dumps(arch.kwargs),
        "mean": json.dumps(arch.mean),
        "std": json.dumps(arch.std),
    }
    state: Any = result.checkpoint.state
    raw = any(isinstance(one, formats.Raw) for one in state.values())
    save = formats.save_raw if raw else formats.save_checkpoint
    save(state, _place(path), header)


def read_checkpoint(path: Path) -> Checkpoint:
    """The inverse of `write_checkpoint`.

    Raises:
        FormatError: damaged, or its header does not say what rebuilds the model.
    """
    header, state = formats.load_with_header(path)
    try:
        mean, std = (tuple(map(float, json.loads(header[name]))) for name in ("mean", "std"))
        arch = Arch(header["timm_model"], dict(json.loads(header["timm_kwargs"])), mean, std)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: the header does not describe a model ({error})") from None
    return Checkpoint(arch, state)


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _text(path: Path, text: str) -> None:
    _place(path).write_text(text, encoding="utf-8")
