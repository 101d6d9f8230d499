"""The results of a search: the Pareto front, and the halving."""

from typing import Any

from dashboards.arms import Arms
from dashboards.tables import AXES, AXIS_HEADS, Cell, Table, axis_cells, num, table
from dashboards.text import amount, clean, percent, ratio

MOST_ROWS = 50


def front(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The non-dominated settings, if there is more than one."""
    settings = list(summary.get("pareto") or [])
    return settings if len(settings) > 1 else []


def _further(setting: dict[str, Any]) -> str:
    """The axes without a column of their own."""
    parts = [f"{k} = {v}" for k, v in setting.items() if k not in AXES and v is not None]
    return clean(", ".join(parts), 300)


def pareto_table(summary: dict[str, Any]) -> Table:
    """A row per setting of the front."""
    arms = Arms.of(summary)
    rows = [
        (
            Cell(arms.short(row["arm"]), None, "arm"),
            *axis_cells(row.get("setting") or {}),
            Cell(_further(row.get("setting") or {})),
            num(amount(row.get("n")), row.get("n")),
            num(percent(row.get("val_accuracy_mean")), row.get("val_accuracy_mean")),
            num(percent(row.get("test_accuracy_mean")), row.get("test_accuracy_mean")),
            num(ratio(row.get("macs_ratio")), row.get("macs_ratio")),
            num(ratio(row.get("macs_ratio_kept")), row.get("macs_ratio_kept")),
            num(percent(row.get("sparsity_mean")), row.get("sparsity_mean")),
        )
        for row in front(summary)[:MOST_ROWS]
    ]
    heads = ("Arm", *AXIS_HEADS, "Further axes", "Seeds")
    measured = ("Val. accuracy", "Test accuracy", "MACs", "MACs, kept patches", "Final sparsity")
    return table((*heads, *measured), rows)


def halving_table(summary: dict[str, Any]) -> Table:
    """A row per rung."""
    rows = [
        (
            num(amount(rung.get("epochs")), rung.get("epochs")),
            num(amount(rung.get("candidates")), rung.get("candidates")),
            num(amount(rung.get("kept")), rung.get("kept")),
            num(percent(rung.get("best_val_accuracy")), rung.get("best_val_accuracy")),
        )
        for rung in (summary.get("halving") or {}).get("rungs") or []
    ]
    return table(("Stopped after epochs", "Candidates", "Went on", "Best val. accuracy"), rows)


def candidates_table(summary: dict[str, Any]) -> Table:
    """A row per candidate, the furthest first; final numbers for winners only."""
    arms, rows = Arms.of(summary), []
    for candidate in ((summary.get("halving") or {}).get("candidates") or [])[:MOST_ROWS]:
        epochs, accuracy = (candidate.get("curve") or [[None, None]])[-1]
        rows.append(
            (
                Cell(arms.short(candidate["arm"]), None, "arm"),
                *axis_cells(candidate.get("setting") or {}),
                Cell(_further(candidate.get("setting") or {})),
                num(amount(candidate.get("n")), candidate.get("n")),
                num(amount(epochs), epochs),
                num(percent(accuracy), accuracy),
                num(percent(candidate.get("val_accuracy")), candidate.get("val_accuracy")),
                num(percent(candidate.get("test_accuracy")), candidate.get("test_accuracy")),
            )
        )
    heads = ("Arm", *AXIS_HEADS, "Further axes", "Seeds")
    reached = ("Stopped after epochs", "Val. accuracy there")
    return table((*heads, *reached, "Val. accuracy, full", "Test accuracy, full"), rows)
