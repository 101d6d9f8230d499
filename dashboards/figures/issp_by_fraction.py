"""Accuracy by the fraction of the data that ISSP saw."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dashboards import frames, style
from dashboards.figure import Figure
from dashboards.text import AUTO, level, percent

MOST_LEVELS = 6  # lines that a reader can tell apart in one panel


@dataclass(frozen=True, slots=True)
class Fractions:
    """Rows of `frames.by_fraction`, and the accuracy of the dense model."""

    table: pd.DataFrame
    dense: float | None


def data(summary: dict[str, Any]) -> Fractions | None:
    """Accuracy by fraction, if several were run."""
    table = frames.by_fraction(summary)
    if table.empty or table["fraction"].nunique() < 2:
        return None
    return Fractions(table, frames.dense_before(summary))


def draw(shown: Fractions) -> tuple[Axes, str]:
    """Accuracy against the mask data fraction: right after ISSP, and after fine-tuning."""
    table, dense = shown.table, shown.dense
    stages = [s for s in ("issp", "final") if (table["stage"] == s).any()]
    titles = {"issp": "Right after ISSP", "final": "After fine-tuning"}
    panels = style.new_figure(*[2.8] * len(stages))
    for axes, stage in zip(panels, stages, strict=True):
        for i, sparsity in enumerate(shown_levels(table)):
            rows = table[(table["stage"] == stage) & (table["sparsity"] == sparsity)]
            axes.errorbar(
                rows["fraction"],
                rows["mean"],
                yerr=arms_of(rows),
                color=style.LEVEL_COLOURS[i],
                marker=style.LEVEL_MARKERS[i],
                elinewidth=1.2,
                capsize=2.5,
                label=f"{level(sparsity)} sparsity",
            )
        if dense is not None:
            axes.axhline(dense, color=style.INK, lw=1.2, ls="--", label="Dense model")
        axes.set_title(titles[stage], loc="left", fontweight="bold")
        axes.set_ylabel("Val. accuracy (%)")
        style.percent_ticks(axes, x=True, y=True)
    panels[-1].set_xlabel("Training data used to find the masks (%)")
    style.legend_below(panels[0])
    first = table[table["stage"] == "issp"]["mean"]
    alt = (
        "Validation accuracy by mask data fraction, one line per sparsity; right after ISSP "
        f"between {percent(first.min())} and {percent(first.max())}."
    )
    return panels[0], alt


def shown_levels(table: pd.DataFrame) -> list[Any]:
    """The sparsities that the figure draws: all, or evenly spread ones if there are many.

    `auto` comes last.
    """
    levels = sorted(table["sparsity"].dropna().unique(), key=lambda s: (s == AUTO, s))
    if len(levels) <= MOST_LEVELS:
        return levels
    picked = np.linspace(0, len(levels) - 1, MOST_LEVELS).round().astype(int)
    return [levels[i] for i in picked]


def arms_of(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Lengths of the bars below and above the mean; never negative, whatever the rounding."""
    below, above = rows["mean"] - rows["low"], rows["high"] - rows["mean"]
    return np.array([below, above]).clip(min=0.0)


FIGURE = Figure(
    name="issp_by_fraction",
    place="issp",
    caption="Accuracy right after ISSP and after fine-tuning [LOTUS, figure 5].",
    data=data,
    draw=draw,
)
