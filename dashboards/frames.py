"""The summary's series as tables, for figures and sections."""

from typing import Any

import pandas as pd

from dashboards.arms import Arms
from dashboards.text import number


def finetuning(summary: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Arm -> epoch, mean, low, high, ci_low, ci_high, n, in the order of arms."""
    lines, arms = summary.get("finetuning") or {}, Arms.of(summary)
    ordered = sorted(lines, key=arms.rank)
    return {arm: pd.DataFrame(lines[arm]) for arm in ordered if lines[arm]}


def by_fraction(summary: dict[str, Any]) -> pd.DataFrame:
    """Accuracy by mask data fraction, sparsity and stage."""
    return _frame(summary.get("by_mask_data"), ("patch_drop",))


def stages(summary: dict[str, Any]) -> pd.DataFrame:
    """Seconds by stage."""
    return _frame(summary.get("stage_seconds"), columns=("stage", "total_s", "median_s", "n"))


def rates(summary: dict[str, Any]) -> pd.DataFrame:
    """Training images per second by patch drop."""
    return _frame(summary.get("throughput"), columns=("patch_drop", "mean", "low", "high", "n"))


def dense_before(summary: dict[str, Any]) -> float | None:
    """Validation accuracy of the dense model before fine-tuning."""
    dense = summary.get("dense") or {}
    return number((dense.get("before_fine_tuning") or dense).get("val_accuracy"))


def _frame(
    rows: list[dict[str, Any]] | None, numeric: tuple[str, ...] = (), columns: Any = None
) -> pd.DataFrame:
    """Rows of the summary as a table; empty without any."""
    table = pd.DataFrame(rows or [], columns=columns)
    for column in numeric:
        if column in table:
            table[column] = pd.to_numeric(table[column], errors="coerce")
    return table
