"""A sweep as a table: one row per trial, from the tracking store alone."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Tracker, find_sweep, patiently
from orchestrator.vocabulary import FINETUNE_EPOCHS, Tag, of

NUMBERS = ("seed", "sparsity", "patch_drop", "mask_data_fraction", "rung")
CURVE_METRICS = ("train_loss", "val_loss", "val_accuracy")


def results(sweep: SweepConfig) -> pd.DataFrame:
    """The trials of a sweep; empty when it has never run.

    Columns: run_id, name, key, arm, status, error, seed, sparsity, patch_drop,
    mask_data_fraction (NaN where the arm ignores it), rung (epochs after which it was stopped;
    NaN for a full trial, and only those have final/* metrics), auto_sparsity (whether the trial
    found its own sparsity), versions (of the packages that computed its results; None on runs of
    earlier versions), every metric under its own name, every other param dotted, and
    `stage.<name>`: the key of each stage result that the trial used.

    Accuracy and cost of one forward pass: `final/deployed_val_accuracy`,
    `final/deployed_test_accuracy` go with `final/macs_deployed`; `final/val_accuracy`,
    `final/test_accuracy` are on whole images and go with `final/macs_dense`. Trials that an
    earlier version ran have no `final/deployed_*`, `final/macs_deployed`, `final/macs_selector`
    and `final/macs_training`: such a column is absent or NaN until the sweep is run again.
    """
    address = find_sweep(sweep)
    return trials_table(Tracker(address).runs()) if address else trials_table([])


def curve(sweep: SweepConfig) -> pd.DataFrame:
    """What measured the one-shot curve of a sweep, see `curve_table`; empty without runs."""
    address = find_sweep(sweep)
    return curve_table(Tracker(address).runs() if address else [])


def trials_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The runs of one sweep -> the table of its trials; superseded ones are left out."""
    return _table([_row(run) for run in runs if _is_trial(run.data.tags)])


def curve_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The trials, and below them the stage runs that measured a level of the one-shot curve.

    Such runs are the levels and probes of `sparsity: auto`; their `arm` is None. One level may
    stand in several rows with one `stage.essential`: `one_shot_curve` counts it once.
    """
    known = list(runs)
    trials = [run for run in known if _is_trial(run.data.tags)]
    levels = [run for run in known if _is_level(run.data.tags)]
    return _table([_row(run) for run in [*trials, *levels]])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    for name in ("run_id", "name", "key", "arm", "status", "error", "versions", *NUMBERS):
        if name not in table:
            table[name] = pd.Series(dtype=float if name in NUMBERS else object)
    for name in NUMBERS:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def _is_trial(tags: dict[str, str]) -> bool:
    return tags.get(Tag.KIND) == "trial" and tags.get(Tag.SUPERSEDED) != "true"


def _is_level(tags: dict[str, str]) -> bool:
    alive = tags.get(Tag.KIND) == "stage" and tags.get(Tag.SUPERSEDED) != "true"
    return alive and Tag.STAGE_OF + "essential" in tags


def _row(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    stages = {
        f"stage.{name.removeprefix(Tag.STAGE_OF)}": value
        for name, value in tags.items()
        if name.startswith(Tag.STAGE_OF)
    }
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "key": tags[Tag.KEY],
        "arm": tags.get(Tag.ARM),
        "rung": tags.get(Tag.RUNG),
        "auto_sparsity": tags.get(Tag.SPARSITY) == "auto",
        "status": run.info.status,
        "error": tags.get(Tag.ERROR),
        "versions": tags.get(Tag.MADE_WITH),
        **run.data.params,
        **run.data.metrics,
        **stages,
    }


def learning_curves(tracker: Tracker, trials: pd.DataFrame) -> pd.DataFrame:
    """Long table of fine-tuning curves: key, name, arm, seed, epoch (from 1) and three metrics."""
    rows: list[dict[str, Any]] = []
    for trial in trials.to_dict("records"):
        epochs: dict[int, dict[str, float]] = {}
        for metric in CURVE_METRICS:
            name = of(FINETUNE_EPOCHS, metric)
            history = patiently(partial(tracker.client.get_metric_history, trial["run_id"], name))
            for point in history:
                epochs.setdefault(point.step, {})[metric] = point.value
        known = {name: trial[name] for name in ("key", "name", "arm", "seed")}
        rows += [{**known, "epoch": epoch, **values} for epoch, values in sorted(epochs.items())]
    columns = ["key", "name", "arm", "seed", "epoch", *CURVE_METRICS]
    return pd.DataFrame(rows, columns=columns)


def axis_columns(tags: dict[str, str]) -> Sequence[str]:
    """The sweep's further axes, as its parent run names them."""
    prefix = Tag.AXIS
    names = [name.removeprefix(prefix) for name in tags if name.startswith(prefix)]
    return [name for name in names if "." in name]
