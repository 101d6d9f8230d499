"""How successive halving went: rungs, who went on from each, who won."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from orchestrator.selection.rows import Row, average, grouped, rows
from orchestrator.selection.settings import axis_names
from orchestrator.vocabulary import Metric

METRIC = Metric.RUNG_VAL_ACCURACY
_COLUMNS = (
    "arm",
    "status",
    "seed",
    "rung",
    METRIC,
    Metric.FINAL_VAL_ACCURACY,
    Metric.FINAL_TEST_ACCURACY,
)


def halving(results: pd.DataFrame, axes: Sequence[str] = ()) -> dict[str, Any] | None:
    """`summary["halving"]`: None without a finished rung. Accuracies are means over seeds.

    Args:
        results: one row per trial; `rung` = epochs after which it was stopped, NaN = full.
        axes: columns that tell settings apart, beside BASE_AXES.

    Returns:
        `rungs`, rising: epochs, candidates there, kept (that went on), best accuracy;
        `candidates`, the furthest first: arm, setting, accuracy at each rung reached, `won`, and
        for winners the accuracies of the full trial.
    """
    names = axis_names(axes)
    table = [r for r in rows(results, (*_COLUMNS, *names)) if r["status"] in (None, "FINISHED")]
    if not any(r["rung"] is not None for r in table):
        return None
    groups = grouped(table, lambda r: _place(r, names))
    candidates = [
        _candidate(group, names) for group in groups if any(r["rung"] is not None for r in group)
    ]
    candidates.sort(key=_order)
    levels = sorted({epochs for one in candidates for epochs, _ in one["curve"]})
    return {"rungs": [_rung(level, candidates) for level in levels], "candidates": candidates}


def _place(row: Row, names: Sequence[str]) -> str:
    """Equal for rows of one setting; floats apart by rounding only are one place."""
    values = [round(v, 9) if isinstance(v := row[n], float) else v for n in names]
    return json.dumps([row["arm"], *values], default=str)


def _candidate(group: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    stopped = [r for r in group if r["rung"] is not None and r[METRIC] is not None]
    full = [r for r in group if r["rung"] is None and r[Metric.FINAL_VAL_ACCURACY] is not None]
    by_rung = grouped(sorted(stopped, key=lambda r: r["rung"]), lambda r: r["rung"])
    final = average(full, (Metric.FINAL_VAL_ACCURACY, Metric.FINAL_TEST_ACCURACY))
    return {
        "arm": group[0]["arm"],
        "n": len({r["seed"] for r in stopped}),
        "setting": {name: group[0][name] for name in names},
        "curve": [[int(own[0]["rung"]), average(own, (METRIC,))[METRIC]] for own in by_rung],
        "won": bool(full),
        "val_accuracy": final[Metric.FINAL_VAL_ACCURACY],
        "test_accuracy": final[Metric.FINAL_TEST_ACCURACY],
    }


def _order(candidate: dict[str, Any]) -> tuple[Any, ...]:
    """Winners first, then who came furthest, then the better there."""
    epochs, accuracy = candidate["curve"][-1] if candidate["curve"] else (0, 0.0)
    return not candidate["won"], -epochs, -accuracy


def _rung(epochs: int, candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    here = {i: dict(map(tuple, one["curve"])) for i, one in enumerate(candidates)}
    reached = [i for i, curve in here.items() if epochs in curve]
    on = [i for i in reached if candidates[i]["won"] or max(here[i]) > epochs]
    best = max(here[i][epochs] for i in reached)
    return {
        "epochs": epochs,
        "candidates": len(reached),
        "kept": len(on),
        "best_val_accuracy": best,
    }
