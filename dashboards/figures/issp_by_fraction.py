"""Accuracy by the fraction of the data that ISSP saw."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from dashboards import frames, parts, style
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import AUTO, amount, level, percent, points

MOST_LEVELS = 6  # lines that a reader can tell apart in one panel
STAGES = {"issp": "Right after ISSP", "final": "After fine-tuning"}
_WHEN = {"issp": "right after ISSP", "final": "after fine-tuning"}
HEADS = {
    "stage": "When",
    "name": "Sparsity",
    "fraction": "Training data for the masks (%)",
    "mean": "Val. accuracy (%)",
    "low": "Lowest seed",
    "high": "Highest seed",
    "n": "Seeds",
}
_INNER, _MARGIN = 250, 80


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


def draw(shown: Fractions) -> Plot:
    """Accuracy against the mask data fraction: right after ISSP, and after fine-tuning."""
    table = shown.table
    levels = shown_levels(table)
    stages = [s for s in STAGES if (table["stage"] == s).any()]
    rows = [row for s in stages for row in _rows(table[table["stage"] == s], levels)]
    names = [f"{level(s)} sparsity" for s in levels]
    # One chart a stage, not facets: accuracies right after pruning lie far below the others.
    panels = [_panel([r for r in rows if r["stage"] == STAGES[s]], names, shown.dense)
              .properties(title=STAGES[s], width=_INNER, height=230) for s in stages]  # fmt: skip
    first = table[table["stage"] == stages[0]]["mean"]
    return Plot(
        chart=alt.concat(*panels, columns=2),
        title=finding(table, stages[-1]),
        alt="Validation accuracy by mask data fraction, one line per sparsity; "
        f"{_WHEN[stages[0]]} between {percent(first.min())} and {percent(first.max())}.",
        table=DataTable.of(HEADS, rows),
        note=parts.sample(row["n"] for row in rows),
        inner=_INNER,
        columns=2,
        margin=_MARGIN,
    )


def finding(table: pd.DataFrame, stage: str) -> str:
    """How far the fewest data end from the most, at the worst sparsity."""
    rows = table[table["stage"] == stage]
    means = rows.pivot_table(index="sparsity", columns="fraction", values="mean")
    gaps = (means.iloc[:, 0] - means.iloc[:, -1]).dropna()
    few, many = level(means.columns[0]), level(means.columns[-1])
    if gaps.empty:
        return "Accuracy by the training data that the masks were found on"
    lowest, highest = points(gaps.min()), points(gaps.max())
    size = lowest if lowest == highest else f"{lowest} to {highest}"
    return (
        f"Masks from {few} of the data instead of {many} change accuracy by {size} points "
        f"{_WHEN[stage]}"
    )


def shown_levels(table: pd.DataFrame) -> list[Any]:
    """The sparsities that the figure draws: all, or evenly spread ones if there are many.

    `auto` comes last.
    """
    levels = sorted(table["sparsity"].dropna().unique(), key=lambda s: (s == AUTO, s))
    if len(levels) <= MOST_LEVELS:
        return levels
    picked = np.linspace(0, len(levels) - 1, MOST_LEVELS).round().astype(int)
    return [levels[i] for i in picked]


def _rows(table: pd.DataFrame, levels: list[Any]) -> list[dict[str, Any]]:
    """Rows of one stage; bars stand a little beside each other, at `place`."""
    fractions = 100 * table["fraction"].astype(float)
    step = 0.012 * float(fractions.max() - fractions.min())
    rows = []
    for i, sparsity in enumerate(levels):
        for line in table[table["sparsity"] == sparsity].to_dict("records"):
            name, stage = f"{level(sparsity)} sparsity", STAGES[str(line["stage"])]
            tip = parts.lines(
                f"{name}, masks from {level(line['fraction'])} of the data", stage,
                f"{percent(line['mean'])}, seeds {percent(line['low'])} to {percent(line['high'])}",
                f"{amount(line.get('n'))} seeds",
            )  # fmt: skip
            row = {f: parts.in_percent(line[f]) for f in ("fraction", "mean", "low", "high")}
            place = (row["fraction"] or 0.0) + step * (i - (len(levels) - 1) / 2)
            rows.append(row | {"stage": stage, "name": name, "n": line.get("n"), "place": place,
                               "tip": tip})  # fmt: skip
    return rows


def _panel(rows: list[dict[str, Any]], names: list[str], dense: float | None) -> alt.LayerChart:
    base = parts.chart(rows)
    fractions = sorted({row["fraction"] for row in rows})
    known = [row[f] for row in rows for f in ("low", "high")]
    near = [parts.in_percent(dense)] if dense is not None else []
    x = parts.x_axis("place", "Training data used to find the masks (%)",
                     parts.span(fractions, pad=0.05), values=fractions, grid=False)  # fmt: skip
    y = parts.y_axis("mean", "Val. accuracy (%)", parts.span([*known, *near], least=2.0))
    low, high = alt.Y("low", type="quantitative"), alt.Y2("high")
    colour = parts.coloured(names, style.LEVEL_COLOURS[: len(names)])
    shape = parts.shaped(names, style.LEVEL_SHAPES[: len(names)])
    layers: list[Any] = [
        base.mark_rule(strokeWidth=1.4).encode(x=x, y=low, y2=high, color=colour),
        base.mark_line().encode(x=x, y=y, color=colour),
        base.mark_point().encode(x=x, y=y, color=colour, shape=shape),
        parts.hover(base.encode(x=x, y=y)),
    ]
    if near and near[0] is not None:
        layers.append(parts.level_line(near[0], "Dense", style.DASHED))
    return parts.layered(*layers)


FIGURE = Figure(
    name="issp_by_fraction",
    place="issp",
    caption="Accuracy right after ISSP and after fine-tuning [LOTUS, figure 5]; bars from the "
    "lowest to the highest seed, set a little beside each other.",
    data=data,
    draw=draw,
)
