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
    mask_data_fraction (NaN if the arm ignores it), rung (epochs after which it was stopped; NaN
    for a full trial, and only those have final/* metrics), auto_sparsity (whether the trial found
    its own sparsity), versions (of the packages that computed its results; None on runs of earlier
    versions), tokens (in each block, where tokens leave inside; else None), every metric under its
    own name, every other param dotted, and `stage.<name>`: the key of each stage result that the
    trial used.

    Accuracy and cost belong together: `final/deployed_val_accuracy` and
    `final/deployed_test_accuracy` with `final/macs_deployed`; `final/val_accuracy` and
    `final/test_accuracy`, on whole images, with `final/macs_dense`. Trials of earlier versions have
    no `final/deployed_*`, `final/macs_deployed`, `final/macs_selector` and `final/macs_training`:
    such a column is missing or NaN until the sweep is run again.
    """
    address = find_sweep(sweep)
    return trials_table(Tracker(address).runs()) if address else trials_table([])


def curve(sweep: SweepConfig) -> pd.DataFrame:
    """The measurements of a sweep's one-shot curve, see `curve_table`; empty without runs."""
    address = find_sweep(sweep)
    return curve_table(Tracker(address).runs() if address else [])


def trials_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The table of trials from the runs of one sweep, without superseded ones."""
    return _table([_row(run) for run in runs if _is_trial(run.data.tags)])


def curve_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The trials, followed by stage runs that measured a level of the one-shot curve.

    Those are the levels and probes of `sparsity: auto`; their `arm` is None. Several rows may have
    the same `stage.essential`: `one_shot_curve` counts it once.
    """
    all_runs = list(runs)
    trials = [run for run in all_runs if _is_trial(run.data.tags)]
    levels = [run for run in all_runs if _is_level(run.data.tags)]
    return _table([_row(run) for run in [*trials, *levels]])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return with_columns(pd.DataFrame(rows))


def with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with the columns that every table of trials has; adds to it in place."""
    for column in (
        "run_id",
        "name",
        "key",
        "arm",
        "status",
        "error",
        "versions",
        "tokens",
        *NUMBERS,
    ):
        if column not in table:
            table[column] = pd.Series(dtype=float if column in NUMBERS else object)
    for column in NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def _is_trial(tags: dict[str, str]) -> bool:
    return tags.get(Tag.KIND) == "trial" and tags.get(Tag.SUPERSEDED) != "true"


def _is_level(tags: dict[str, str]) -> bool:
    alive = tags.get(Tag.KIND) == "stage" and tags.get(Tag.SUPERSEDED) != "true"
    return alive and Tag.STAGE_OF + "essential" in tags


def _row(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    stages = {
        f"stage.{tag.removeprefix(Tag.STAGE_OF)}": value
        for tag, value in tags.items()
        if tag.startswith(Tag.STAGE_OF)
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
        "tokens": tags.get(Tag.TOKENS),
        **run.data.metrics,
        **run.data.params,  # last: an axis that is a number is a metric as well
        **stages,
    }


def learning_curves(tracker: Tracker, trials: pd.DataFrame) -> pd.DataFrame:
    """Long table of fine-tuning curves: key, name, arm, seed, epoch (from 1) and three metrics."""
    rows: list[dict[str, Any]] = []
    for trial in trials.to_dict("records"):
        epochs: dict[int, dict[str, float]] = {}
        for metric in CURVE_METRICS:
            metric_name = of(FINETUNE_EPOCHS, metric)
            history = patiently(
                partial(tracker.client.get_metric_history, trial["run_id"], metric_name)
            )
            for point in history:
                epochs.setdefault(point.step, {})[metric] = point.value
        identity = {column: trial[column] for column in ("key", "name", "arm", "seed")}
        rows += [{**identity, "epoch": epoch, **values} for epoch, values in sorted(epochs.items())]
    columns = ["key", "name", "arm", "seed", "epoch", *CURVE_METRICS]
    return pd.DataFrame(rows, columns=columns)


def axis_columns(tags: dict[str, str]) -> Sequence[str]:
    """The sweep's further axes, from the tags of its parent run."""
    prefix = Tag.AXIS
    axes = [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]
    return [axis for axis in axes if "." in axis]
