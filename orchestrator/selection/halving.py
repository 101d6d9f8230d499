"""How successive halving went: its rungs, which candidates continued, and which won."""

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
        axes: further columns that distinguish settings, beside BASE_AXES.

    Returns:
        `rungs`, ascending: epochs, candidates there, kept (that continued), best accuracy;
        `candidates`, the furthest first: arm, setting, accuracy at each rung reached, `won`, and
        for winners the accuracies of the full trial.
    """
    axis_columns = axis_names(axes)
    table = [
        r for r in rows(results, (*_COLUMNS, *axis_columns)) if r["status"] in (None, "FINISHED")
    ]
    if not any(r["rung"] is not None for r in table):
        return None
    groups = grouped(table, lambda r: _place(r, axis_columns))
    candidates = [
        _candidate(group, axis_columns)
        for group in groups
        if any(r["rung"] is not None for r in group)
    ]
    candidates.sort(key=_order)
    levels = sorted({epochs for candidate in candidates for epochs, _ in candidate["curve"]})
    return {"rungs": [_rung(level, candidates) for level in levels], "candidates": candidates}


def _place(row: Row, axes: Sequence[str]) -> str:
    """A text that is equal for rows of one setting, whatever the rounding of floats."""
    values = [round(v, 9) if isinstance(v := row[n], float) else v for n in axes]
    return json.dumps([row["arm"], *values], default=str)


def _candidate(group: Sequence[Row], axes: Sequence[str]) -> dict[str, Any]:
    stopped = [r for r in group if r["rung"] is not None and r[METRIC] is not None]
    full = [r for r in group if r["rung"] is None and r[Metric.FINAL_VAL_ACCURACY] is not None]
    by_rung = grouped(sorted(stopped, key=lambda r: r["rung"]), lambda r: r["rung"])
    final = average(full, (Metric.FINAL_VAL_ACCURACY, Metric.FINAL_TEST_ACCURACY))
    return {
        "arm": group[0]["arm"],
        "n": len({r["seed"] for r in stopped}),
        "setting": {axis: group[0][axis] for axis in axes},
        "curve": [
            [int(rung_rows[0]["rung"]), average(rung_rows, (METRIC,))[METRIC]]
            for rung_rows in by_rung
        ],
        "won": bool(full),
        "val_accuracy": final[Metric.FINAL_VAL_ACCURACY],
        "test_accuracy": final[Metric.FINAL_TEST_ACCURACY],
    }


def _order(candidate: dict[str, Any]) -> tuple[Any, ...]:
    """Winners first, then those that came furthest, then the most accurate."""
    epochs, accuracy = candidate["curve"][-1] if candidate["curve"] else (0, 0.0)
    return not candidate["won"], -epochs, -accuracy


def _rung(epochs: int, candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    curves = {i: dict(map(tuple, candidate["curve"])) for i, candidate in enumerate(candidates)}
    reached = [i for i, curve in curves.items() if epochs in curve]
    continued = [i for i in reached if candidates[i]["won"] or max(curves[i]) > epochs]
    best = max(curves[i][epochs] for i in reached)
    return {
        "epochs": epochs,
        "candidates": len(reached),
        "kept": len(continued),
        "best_val_accuracy": best,
    }
