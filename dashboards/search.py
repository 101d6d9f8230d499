"""What a search found: the settings that no other beats, and who won the halving."""

from typing import Any

import numpy as np

from dashboards import style
from dashboards.sections import Cell, Table, _axis_cells, _num, _table
from dashboards.style import Drawing
from dashboards.text import (
    amount,
    arm_label,
    clean,
    level,
    number,
    percent,
    plural,
    ratio,
    short_arm_label,
)

MOST_ROWS = 50
SHORT_AXES = ("sparsity", "patch_drop", "mask_data_fraction")


def front(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The non-dominated settings, where there is more than one to compare."""
    found = list(summary.get("pareto") or [])
    return found if len(found) > 1 else []


def _further(setting: dict[str, Any]) -> str:
    """The axes without a column of their own."""
    parts = [f"{k} = {v}" for k, v in setting.items() if k not in SHORT_AXES and v is not None]
    return clean(", ".join(parts), 300)


def pareto_table(summary: dict[str, Any]) -> Table:
    """A row per setting of the front."""
    rows = [
        (
            Cell(short_arm_label(row["arm"]), None, "arm"),
            *_axis_cells(row.get("setting") or {}),
            Cell(_further(row.get("setting") or {})),
            _num(amount(row.get("n")), row.get("n")),
            _num(percent(row.get("val_accuracy_mean")), row.get("val_accuracy_mean")),
            _num(percent(row.get("test_accuracy_mean")), row.get("test_accuracy_mean")),
            _num(ratio(row.get("macs_ratio")), row.get("macs_ratio")),
            _num(ratio(row.get("macs_ratio_kept")), row.get("macs_ratio_kept")),
            _num(percent(row.get("sparsity_mean")), row.get("sparsity_mean")),
        )
        for row in front(summary)[:MOST_ROWS]
    ]
    heads = ("Arm", "One-shot level", "Patch drop", "Mask data", "Further axes", "Seeds")
    measured = ("Val. accuracy", "Test accuracy", "MACs", "MACs, kept patches", "Final sparsity")
    return _table((*heads, *measured), rows)


def pareto_figure(summary: dict[str, Any]) -> Drawing | None:
    """Accuracy of the front against its multiply-accumulates, coloured by sparsity."""
    rows = [
        r
        for r in front(summary)
        if number(r.get("macs_ratio")) is not None and number(r.get("sparsity_mean")) is not None
    ]
    if not rows:
        return None
    (axes,) = style.new_figure(3.6)
    x = np.array([float(r["macs_ratio"]) for r in rows])
    y = np.array([float(r["val_accuracy_mean"]) for r in rows])
    colour = np.array([100 * float(r["sparsity_mean"]) for r in rows])
    dots = axes.scatter(
        x, y, c=colour, cmap="viridis_r", s=46, edgecolors=style.INK, linewidths=0.6
    )
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes made by new_figure have a figure"
    figure.colorbar(dots, ax=axes, label="Final sparsity (%)")
    axes.set_xlabel("MACs, relative to dense")
    axes.set_ylabel("Validation accuracy (%)")
    axes.margins(0.08)
    style.percent_ticks(axes, y=True)
    alt = (
        f"{plural(len(rows), 'non-dominated setting')}: validation accuracy from "
        f"{percent(y.min())} to {percent(y.max())} at {ratio(x.min())} to {ratio(x.max())} of the "
        "dense multiply-accumulates."
    )
    return Drawing("pareto", style.to_png(axes), alt)


def halving_table(summary: dict[str, Any]) -> Table:
    """A row per rung."""
    rows = [
        (
            _num(amount(rung.get("epochs")), rung.get("epochs")),
            _num(amount(rung.get("candidates")), rung.get("candidates")),
            _num(amount(rung.get("kept")), rung.get("kept")),
            _num(percent(rung.get("best_val_accuracy")), rung.get("best_val_accuracy")),
        )
        for rung in (summary.get("halving") or {}).get("rungs") or []
    ]
    return _table(("Stopped after epochs", "Candidates", "Went on", "Best val. accuracy"), rows)


def candidates_table(summary: dict[str, Any]) -> Table:
    """A row per candidate, the furthest first; final numbers for winners only."""
    rows = []
    for one in ((summary.get("halving") or {}).get("candidates") or [])[:MOST_ROWS]:
        epochs, accuracy = (one.get("curve") or [[None, None]])[-1]
        rows.append(
            (
                Cell(short_arm_label(one["arm"]), None, "arm"),
                *_axis_cells(one.get("setting") or {}),
                Cell(_further(one.get("setting") or {})),
                _num(amount(one.get("n")), one.get("n")),
                _num(amount(epochs), epochs),
                _num(percent(accuracy), accuracy),
                _num(percent(one.get("val_accuracy")), one.get("val_accuracy")),
                _num(percent(one.get("test_accuracy")), one.get("test_accuracy")),
            )
        )
    heads = ("Arm", "One-shot level", "Patch drop", "Mask data", "Further axes", "Seeds")
    reached = ("Stopped after epochs", "Val. accuracy there")
    return _table((*heads, *reached, "Val. accuracy, full", "Test accuracy, full"), rows)


def halving_figure(summary: dict[str, Any]) -> Drawing | None:
    """Validation accuracy of every candidate at the rungs that it reached; winners stand out."""
    found = [c for c in (summary.get("halving") or {}).get("candidates") or [] if c.get("curve")]
    if not found:
        return None
    (axes,) = style.new_figure(3.6)
    for one in reversed(found):
        x, y = zip(*one["curve"], strict=True)
        won = bool(one.get("won"))
        colour = style.BAND if won else style.MUTED
        axes.plot(x, y, "o-", color=colour, lw=2.2 if won else 0.9, alpha=1 if won else 0.6,
                  zorder=3 if won else 2)  # fmt: skip
    axes.plot([], [], "o-", color=style.BAND, lw=2.2, label="Run in full")
    axes.plot([], [], "o-", color=style.MUTED, lw=0.9, alpha=0.6, label="Stopped")
    axes.set_xticks(sorted({int(epochs) for one in found for epochs, _ in one["curve"]}))
    axes.set_xlabel("Fine-tuning epochs at the stop")
    axes.set_ylabel("Validation accuracy (%)")
    style.percent_ticks(axes, y=True)
    style.legend_below(axes)
    winners = [c for c in found if c.get("won")]
    said = "; ".join(
        f"{arm_label(w['arm'])} at {level((w.get('setting') or {}).get('sparsity'))} sparsity"
        for w in winners
    )
    alt = f"{plural(len(found), 'candidate')} of a halving; run in full: {said or 'none yet'}."
    return Drawing("halving", style.to_png(axes), alt)
