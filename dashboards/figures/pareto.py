"""The settings that no other setting dominates, by accuracy and cost."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dashboards import style
from dashboards.figure import Figure
from dashboards.search import front
from dashboards.text import number, percent, plural, ratio


def data(summary: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The settings of the front with known cost, if there is more than one."""
    rows = [
        r
        for r in front(summary)
        if number(r.get("macs_ratio")) is not None and number(r.get("sparsity_mean")) is not None
    ]
    return rows or None


def draw(rows: list[dict[str, Any]]) -> tuple[Axes, str]:
    """Accuracy of the front against its multiply-accumulates, coloured by sparsity."""
    (axes,) = style.new_figure(3.6)
    x = np.array([float(r["macs_ratio"]) for r in rows])
    y = np.array([float(r["val_accuracy_mean"]) for r in rows])
    colour = np.array([100 * float(r["sparsity_mean"]) for r in rows])
    dots = axes.scatter(
        x, y, c=colour, cmap="viridis_r", s=46, edgecolors=style.INK, linewidths=0.6
    )
    style.figure_of(axes).colorbar(dots, ax=axes, label="Final sparsity (%)")
    axes.set_xlabel("MACs, relative to dense")
    axes.set_ylabel("Validation accuracy (%)")
    axes.margins(0.08)
    style.percent_ticks(axes, y=True)
    alt = (
        f"{plural(len(rows), 'non-dominated setting')}: validation accuracy from "
        f"{percent(y.min())} to {percent(y.max())} at {ratio(x.min())} to {ratio(x.max())} of the "
        "dense multiply-accumulates."
    )
    return axes, alt


FIGURE = Figure(
    name="pareto",
    place="pareto",
    caption="The settings that no other setting beats.",
    data=data,
    draw=draw,
)
