"""The files of a trial, under the names of the interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.planning.plan import PlannedTrial
from orchestrator.vocabulary import Artifact
from orchestrator.worker.checkpoints import write_checkpoint
from orchestrator.worker.gallery import gallery
from orchestrator.worker.pictures import EXAMPLES, ticket_examples_png
from trials import formats
from trials.data.datasets import Dataset
from trials.sparsity import masks
from trials.stages.dense import Dense
from trials.stages.evaluate import Final
from trials.stages.tickets import Tickets

if TYPE_CHECKING:
    from torch import Tensor

Write = Callable[[Path], None]
"""Writes a file; its folder is there."""

DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The same text, in C where PyYAML was built with it: ten times as fast."""

MASKS = {
    "essential": Artifact.ESSENTIAL_MASK,
    "denoised": Artifact.DENOISED_MASK,
    "final": Artifact.FINAL_MASK,
}
"""Name of a mask in `Artifact.LAYERS` -> its file."""


def trial_files(
    trial: PlannedTrial, results: Mapping[str, Any], data: Dataset, checkpoint: bool
) -> dict[str, Write]:
    """A trial's artifacts, under the names of the interface.

    One that was stopped early has no final model, so nothing but its settings is of use.
    """
    files: dict[str, Write] = {Artifact.TRIAL_CONFIG: partial(_write_settings, trial)}
    if trial.config.rungs:
        return files
    found = {
        "essential": results.get("essential"),
        "denoised": results.get("issp"),
        "final": results.get("control") or results.get("issp") or results.get("essential"),
    }
    kept = {name: result.keep for name, result in found.items() if result is not None}
    for name, mask in kept.items():
        files[MASKS[name]] = partial(formats.save_mask, mask)
    if kept:
        files[Artifact.LAYERS] = partial(_write_sparsity, kept)
    if "tickets" in results:
        tickets = results["tickets"]
        files[Artifact.TICKETS] = partial(_write_tickets, trial, tickets, data.digest)
        files[Artifact.TICKET_EXAMPLES] = partial(_write_examples, tickets, data)
        files[Artifact.TICKET_GALLERY] = partial(_write_gallery, trial, results, data)
    files[Artifact.OUTCOMES] = partial(write_outcomes, results)
    if checkpoint:
        write = partial(write_checkpoint, results["finetune"], key=trial.key)
        files[Artifact.CHECKPOINT] = write
    return files


def write_all(files: Mapping[str, Write], folder: Path) -> None:
    """Write files below a folder."""
    for path, write in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place)


def _write_settings(trial: PlannedTrial, path: Path) -> None:
    settings = yaml.dump(trial.config.model_dump(mode="json"), Dumper=DUMPER)
    path.write_text(settings, encoding="utf-8")


def _write_sparsity(kept: Mapping[str, masks.KeepMask], path: Path) -> None:
    layers = {name: masks.per_layer_sparsity(mask) for name, mask in kept.items()}
    path.write_text(json.dumps(layers, indent=1), encoding="utf-8")


def _write_tickets(trial: PlannedTrial, tickets: Tickets, digest: str, path: Path) -> None:
    """The kept patches of every training image."""
    drop = trial.config.patch_drop
    formats.save_tickets(tickets.train, path, split="train", patch_drop=drop, data_digest=digest)


def _write_examples(tickets: Tickets, data: Dataset, path: Path) -> None:
    """A picture of some."""
    path.write_bytes(ticket_examples_png(data.train.images[:EXAMPLES], tickets.train))


def _write_gallery(
    trial: PlannedTrial, results: Mapping[str, Any], data: Dataset, path: Path
) -> None:
    """What the report draws of a few images."""
    drop, final = trial.config.patch_drop, results["final"]
    drawn = gallery(data, drop, results["tickets"], results["attention"], final)
    path.write_text(json.dumps(drawn, separators=(",", ":")) + "\n", encoding="utf-8")


def write_outcomes(results: Mapping[str, Any], path: Path) -> None:
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
    formats.save_mask(found, path)
