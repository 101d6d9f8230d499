"""A sweep's model as a folder that plain timm reads, `lotus export`.

The checkpoint comes from MLflow where it was kept, else from the store: a sweep keeps the
checkpoint of its best trial only, and the store has those of all.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from orchestrator.commands.selecting import Tracked, tracked_results
from orchestrator.driver.state import look
from orchestrator.planning.config import SweepConfig
from orchestrator.publishing.card import measured, number
from orchestrator.publishing.datasets import KnownData, data_of, read_data
from orchestrator.publishing.model_card import described, model_card, said_of_setting
from orchestrator.secrets import redacted
from orchestrator.selection import select
from orchestrator.selection.answer import answer
from orchestrator.storage.keys import key_of
from orchestrator.tracking.artifacts import fetched
from orchestrator.tracking.tracker import Tracker, find_sweep
from orchestrator.vocabulary import Artifact, Metric
from orchestrator.worker import checkpoints
from trials import formats
from trials.errors import LotusError
from trials.model import export as files
from trials.model import vit
from trials.reduction.config import ReductionConfig

ABOUT = "lotus.json"
SHORTEST_KEY = 8
"""A key may be shortened to this many digits."""

Format = Literal["safetensors", "onnx"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        trial: its name.
        paths: of the files.
    """

    trial: str
    folder: Path
    paths: tuple[Path, ...]


def export(
    sweep: SweepConfig,
    folder: Path,
    trial: str | None = None,
    format: Format = "safetensors",
    *,
    all_tokens: bool = False,
) -> Exported:
    """Write the model of a trial as files for other programs.

    Args:
        folder: made if it is not there; must not hold an export already.
        trial: key, the beginning of one, or name; None = the one that the sweep recommends.
        format: `onnx` writes `model.onnx` as well.
        all_tokens: write a model whose tokens leave inside although plain timm keeps them all.

    Raises:
        LotusError: no such trial, its checkpoint is kept nowhere, the folder is not free, or
            plain timm would run another model and `all_tokens` does not allow that.
    """
    seen = tracked_results(sweep)
    found: Sequence[str] = ()
    if trial is None:
        trial, found = _recommended(sweep, seen)
    row = _row(seen.trials, trial)
    _free(folder)
    with tempfile.TemporaryDirectory(dir=_made(folder.absolute().parent)) as place:
        # Written beside its place and moved when it is whole: an interrupt leaves no half export.
        made = Path(place)
        _write(sweep, row, found, made, format, all_tokens=all_tokens)
        folder.mkdir(exist_ok=True)
        names = sorted(path.name for path in made.iterdir())
        for name in names:
            (made / name).replace(folder / name)
    return Exported(str(row["name"]), folder, tuple(folder / name for name in names))


def _recommended(sweep: SweepConfig, seen: Tracked) -> tuple[str, list[str]]:
    """Key of the recommended trial, and the report's sentences on its setting."""
    essential = sweep.essential.resolved()
    outcomes = seen.outcomes(essential.tolerance)
    chosen = select(
        seen.trials, essential.tolerance, essential.detector, seen.axes, seen.curve, outcomes
    )
    if chosen.recommended is None:
        raise LotusError(
            f"{sweep.name} recommends nothing yet (no finished trial of a LOTUS arm): finish "
            "the sweep, or name a trial with --trial"
        )
    return str(chosen.recommended.trial_key), said_of_setting(
        answer(chosen.essential, chosen.recommended)
    )


def _row(table: pd.DataFrame, wanted: str) -> Mapping[str, Any]:
    """The finished trial of a key, the beginning of one, or a name."""
    finished = table[table["status"] == "FINISHED"]
    by_key = finished["key"].str.startswith(wanted) & (len(wanted) >= SHORTEST_KEY)
    found = finished[by_key | (finished["name"] == wanted)]
    if len(found) == 1:
        return {str(name): value for name, value in found.iloc[0].items()}
    if len(found) > 1:
        keys = ", ".join(key[:12] for key in found["key"][:4])
        raise LotusError(f"--trial {wanted} means {len(found)} trials: name one by key ({keys})")
    names = ", ".join(finished["name"][:4]) or "none"
    raise LotusError(
        f"--trial {wanted}: no finished trial has this key or name. Finished: {names}"
        f"{', ...' if len(finished) > 4 else ''} (`lotus status`, or report/trials.csv, has all)"
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise LotusError(f"--output {folder} is a file: name a folder")
    names = (files.CONFIG, files.WEIGHTS, files.ONNX, files.CARD, ABOUT)
    if there := [name for name in names if (folder / name).exists()]:
        raise LotusError(
            f"--output {folder} holds {there[0]} already: name another folder, or remove it"
        )


def _write(
    sweep: SweepConfig,
    row: Mapping[str, Any],
    found: Sequence[str],
    folder: Path,
    format: Format,
    *,
    all_tokens: bool,
) -> None:
    address = find_sweep(sweep)
    if address is None:
        raise LotusError(f"{sweep.name} is not in its tracking store any more: nothing to export")
    tracker = Tracker(address)
    checkpoint = _checkpoint(sweep, tracker, row)
    data = data_of(row, read_data(tracker))
    about = _about(sweep, row, data)
    if (reduction := checkpoint.arch.reduction) is not None:
        if not all_tokens:
            raise LotusError(_other_in_timm(reduction.config, row))
        about["reduction"] = reduction.settings
        checkpoint = vit.whole(checkpoint)
    if checkpoint.arch.eval_precision != "float32":
        about["eval_precision"] = checkpoint.arch.eval_precision
    header = {"lotus_key": str(row["key"]), "format": "pt"}
    files.write_timm_folder(checkpoint, folder, header, data.class_names if data else ())
    tags = tracker.ask(lambda: tracker.client.get_run(row["run_id"])).data.tags
    card = model_card(described(str(row["name"]), row, tags, data, found), files.usage())
    (folder / files.CARD).write_text(card, encoding="utf-8")
    if format == "onnx":
        files.write_onnx(checkpoint, folder / files.ONNX)
    with fetched(tracker, row["run_id"], Artifact.FINAL_MASK) as mask:
        if mask is not None:
            formats.save_mask(formats.load_mask(mask), folder / "mask.safetensors")
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _other_in_timm(reduction: ReductionConfig, row: Mapping[str, Any]) -> str:
    """Why a model is not simply exported: both accuracies, and what to add."""
    whole, deployed = (
        "an unknown share" if value is None else f"{100 * value:.1f} %"
        for value in (
            number(row, Metric.FINAL_TEST_ACCURACY),
            number(row, Metric.FINAL_DEPLOYED_TEST_ACCURACY),
        )
    )
    does = "merges" if reduction.method == "tome" else "drops"
    return (
        f"this model {does} tokens inside ({reduction.words}): plain timm would run all of them, "
        f"at {whole} instead of {deployed}; add --all-tokens to export it so"
    )


def _checkpoint(sweep: SweepConfig, tracker: Tracker, row: Mapping[str, Any]) -> vit.Checkpoint:
    with fetched(tracker, row["run_id"], Artifact.CHECKPOINT) as path:
        if path is not None:
            return checkpoints.read_checkpoint(path)
    state = look(sweep)
    # By the recovery's own key: the trial's is another one once a version evaluates more.
    recovered = [t.graph.finetune for t in state.plan.trials if t.graph.finetune] if state else []
    tuned = {key_of(node): node for node in recovered}.get(str(row.get("stage.finetune")))
    found = state.store.get(tuned) if state and tuned else None
    if found is None:
        raise LotusError(
            f"the checkpoint of {row['name']} is neither in MLflow (retention.checkpoints = "
            f"{sweep.retention.checkpoints}) nor in the store {redacted(sweep.storage.path)}. On "
            "the machine that has the store it can be exported; else remove the trial's run in "
            "MLflow and run the sweep again with --set retention.checkpoints=all"
        )
    return found[0].checkpoint


def _about(sweep: SweepConfig, row: Mapping[str, Any], data: KnownData | None) -> dict[str, Any]:
    """Where the model comes from and what was measured of it.

    The weights in plain timm run all patches of each image: that accuracy is under
    `measured.whole_images`, the one of the patches that the trial keeps under `deployed`.
    """
    metrics = (
        Metric.FINAL_VAL_ACCURACY,
        Metric.FINAL_TEST_ACCURACY,
        Metric.FINAL_TEST_ACCURACY_TICKET,
    )
    deployed = (Metric.FINAL_DEPLOYED_VAL_ACCURACY, Metric.FINAL_DEPLOYED_TEST_ACCURACY)
    sizes = (
        Metric.FINAL_SPARSITY,
        Metric.FINAL_SPARSITY_MODEL,
        Metric.FINAL_MACS,
        Metric.FINAL_MACS_DENSE,
    )
    costs = (Metric.FINAL_MACS_SELECTOR, Metric.FINAL_MACS_DEPLOYED, Metric.FINAL_MACS_TRAINING)
    axes = ("arm", "sparsity", "patch_drop", "mask_data_fraction", "seed")
    values = {name: row.get(name) for name in (*axes, *metrics, *deployed, *sizes, *costs)}
    plain = {name: None if pd.isna(value) else _plain(value) for name, value in values.items()}
    return {
        "sweep": sweep.name,
        "experiment": sweep.experiment_name,
        "trial": row["name"],
        "key": row["key"],
        "mlflow_run": row["run_id"],
        "data": data.shown if data else None,
        "measured": measured(row),
        **plain,
    }


def _plain(value: Any) -> Any:
    """A number of NumPy as Python's own."""
    return value.item() if hasattr(value, "item") else value
