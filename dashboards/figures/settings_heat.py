"""Accuracy by patch drop and mask data, a heat map for each sparsity."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np

from dashboards import parts, style, tried
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.tables import AXES
from dashboards.text import amount, percent, plural

MOST_MAPS = 9
DEPTH = 5.0  # points below the best in which the steps of colour lie
COLUMNS = 3
_INNER, _MARGIN = 165, 110
_SPARSITY, _DROP, _DATA = AXES
HEADS = {
    "panel": "Sparsity",
    "drop": "Patches dropped",
    "data": "Data for the masks",
    "accuracy": "Val. accuracy (%)",
    "n": "Seeds",
    "settings": "Settings",
}


@dataclass(frozen=True, slots=True)
class Maps:
    """The settings of one arm, the best first."""

    settings: list[dict[str, Any]]
    arms: Arms


def data(summary: dict[str, Any]) -> Maps | None:
    """The settings, if both axes of a map have more than one value."""
    settings = [
        row for row in tried.of_one_arm(summary)
        if all(row["setting"].get(axis) is not None for axis in AXES)
    ]  # fmt: skip
    varied = set(tried.varied(settings))
    return Maps(settings, Arms.of(summary)) if {_DROP, _DATA} <= varied else None


def draw(shown: Maps) -> Plot:
    """The best accuracy of every cell, coloured by the points that it lacks to the best."""
    levels = thinned(tried.values(shown.settings, _SPARSITY))
    best = 100 * float(shown.settings[0]["mean"])
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in shown.settings:  # the best first
        place = tuple(row["setting"][axis] for axis in AXES)
        if place in cells:
            cells[place]["settings"] += 1
        elif place[0] in levels:
            cells[place] = _cell(row, levels, best)
    rows = list(cells.values())
    name = shown.arms.short(shown.settings[0]["arm"])
    total = len(tried.values(shown.settings, _SPARSITY))
    sample = parts.sample(row["n"] for row in rows)
    notes = [f"Shown is {name}, the arm with most settings; {sample}"]
    if len(levels) < total:
        notes.append(f"{len(levels)} of {total} sparsities are drawn.")
    if any(row["settings"] > 1 for row in rows):
        notes.append("Where settings differ in further axes, the best stands for all.")
    order = alt.EncodingSortField("order", op="min")
    facets = _map(rows, shown.settings, best).facet(
        facet=alt.Facet("panel", type="nominal", sort=order, title=None), columns=COLUMNS
    )
    return Plot(
        chart=facets,
        title=finding(shown),
        alt=f"Validation accuracy of {name} in {plural(len(rows), 'cell')} of patch drop, mask "
        f"data and sparsity, from {percent(min(r['accuracy'] for r in rows) / 100)} to "
        f"{percent(best / 100)}.",
        table=DataTable.of(HEADS, rows),
        note=" ".join(notes),
        inner=_INNER,
        columns=COLUMNS,
        margin=_MARGIN,
    )


def finding(shown: Maps) -> str:
    """Where the best setting lies."""
    best = shown.settings[0]
    return (
        f"{shown.arms.short(best['arm'])} is best at {tried.words(best['setting'])}: "
        f"{percent(best['mean'])}"
    )


def thinned(levels: list[Any]) -> list[Any]:
    """All levels, or evenly spread ones if there are too many."""
    if len(levels) <= MOST_MAPS:
        return levels
    return [levels[i] for i in np.linspace(0, len(levels) - 1, MOST_MAPS).round().astype(int)]


def step_names(best: float) -> list[str]:
    """What each colour stands for, from the lowest accuracy to the highest."""
    count = len(style.HEAT_COLOURS)
    edges = [best - DEPTH + DEPTH * i / count for i in range(1, count)]
    middle = [f"{a:.1f} to {b:.1f}" for a, b in pairwise(edges)]
    return [f"below {edges[0]:.1f}", *middle, f"{edges[-1]:.1f} and more"]


def _cell(row: dict[str, Any], levels: list[Any], best: float) -> dict[str, Any]:
    sparsity, drop, mask_data = (row["setting"][axis] for axis in AXES)
    accuracy = 100 * float(row["mean"])
    steps = step_names(best)
    step = int((accuracy - best + DEPTH) / DEPTH * len(steps))
    step = min(max(step, 0), len(steps) - 1)
    texts = [tried.value_text(a, v) for a, v in zip(AXES, (sparsity, drop, mask_data), strict=True)]
    tip = parts.lines(
        f"Sparsity {texts[0]}", f"{texts[1]} of the patches dropped", f"Masks from {texts[2]}",
        f"Val. accuracy {percent(row['mean'])}", f"{amount(row.get('n'))} seeds",
    )  # fmt: skip
    return {
        "panel": f"Sparsity {texts[0]}", "order": levels.index(sparsity), "drop": texts[1],
        "data": texts[2], "accuracy": round(accuracy, 3), "label": f"{accuracy:.1f}",
        "step": steps[step], "strong": step >= len(steps) - 3, "n": row.get("n"), "settings": 1,
        "tip": tip,
    }  # fmt: skip


def _map(rows: list[dict[str, Any]], settings: list[dict[str, Any]], best: float) -> alt.LayerChart:
    drops, fractions = (
        [tried.value_text(axis, v) for v in tried.values(settings, axis)] for axis in (_DROP, _DATA)
    )
    x = alt.X("data", type="nominal", title="Data for the masks",
              scale=alt.Scale(domain=fractions), axis=alt.Axis(labelAngle=0))  # fmt: skip
    y = parts.names_axis(drops, "drop", title="Patches dropped")
    colour = parts.coloured(step_names(best), style.HEAT_COLOURS, "step")
    # Too many cells for numbers: hovering shows them.
    wide = len(fractions) <= 5
    inks = (alt.value(style.colour(f"heat-text-{name}")) for name in ("high", "low"))
    ink = alt.condition(alt.FieldEqualPredicate(field="strong", equal=True), *inks)
    base = parts.chart(rows).encode(x=x, y=y)
    rect = base.mark_rect(stroke=style.PAPER, strokeWidth=1)
    cells = rect.encode(color=colour, tooltip=parts.tip())
    texts = base.mark_text(fontSize=11).encode(text=alt.Text("label", type="nominal"), color=ink)
    height = min(max(30 * len(drops), 60), 240)
    layers = parts.layered(cells, *([texts] if wide else []))
    return layers.properties(width=_INNER, height=height)


FIGURE = Figure(
    name="settings_heat",
    place="pareto",
    caption="Deployed validation accuracy (%), mean over seeds, by patches dropped and training "
    "data used to find the masks, a map for each one-shot sparsity.",
    data=data,
    draw=draw,
)
