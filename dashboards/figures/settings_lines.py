"""Every setting as a line through its axes: parallel coordinates.

Lines are numbered from 1, the best first. Two parameters of the drawing belong to `linked.js`:
`chosen`, the numbers of the lines that are not faded (null = all), and `pointed`, the number of one
that stands out.
"""

import re
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from dashboards import parts, style, tried
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, number, percent, plural

FEWEST, MOST = 6, 300  # lines: below, a table says it better; above, they are thinned
FEWEST_AXES = 3  # of two a heat map says it better
MOST_AXES = 6  # of more the names lie over each other
_CHOICES = 11  # values of the accuracy between which lines can be chosen
_BEST = 0.1  # of the settings, which are highlighted
_KINDS = ("The best tenth", "Others")
_CHOSEN = "chosen === null || indexof(chosen, datum.line) >= 0"
_POINTED = "datum.line === pointed"
_IN_LINES = "split(replace(datum.label, regexp('[._]', 'g'), '$&|'), '|')"
"""The name of an axis that is a key of the sweep file, a line for each of its parts."""
HEADS = {"line": "Setting", "axis": "Axis", "text": "Value", "kind": "Kind"}
_ACCURACY = "Val. accuracy"
_PADDING = 0.45  # before the first axis, in distances of two
_LINE = 13  # height of a line of a name, in pixels


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one arm, the best first.

    Attributes:
        axes: that are drawn.
        varied: how many there are.
    """

    rows: list[dict[str, Any]]
    axes: list[str]
    varied: int
    arms: Arms


def data(summary: dict[str, Any]) -> Settings | None:
    """The settings, if there are enough of them and of the axes that vary."""
    rows = tried.of_one_arm(summary)
    varied = tried.varied(rows)
    axes = tried.telling(rows, varied, MOST_AXES)
    rows = [row for row in rows if all(row["setting"].get(a) is not None for a in axes)]
    enough = len(rows) >= FEWEST and len(axes) >= FEWEST_AXES
    return Settings(rows, axes, len(varied), Arms.of(summary)) if enough else None


def draw(shown: Settings) -> Plot:
    """A line for each setting, the best tenth in colour and on top."""
    count = best_count(shown.rows)
    drawn = thinned(shown.rows, count)
    heights = {axis: _heights(shown, axis) for axis in shown.axes}
    points = [point for i in drawn for point in _line(i, shown, count, heights)]
    name = shown.arms.short(shown.rows[0]["arm"])
    note = f"Shown is {name}, the arm with most settings; "
    note += parts.sample(row.get("n") for row in shown.rows)
    if len(shown.axes) < shown.varied:
        note += f" {len(shown.axes)} of {shown.varied} axes are drawn: those in which most settings"
        note += " differ."
    if len(drawn) < len(shown.rows):
        note += f" {len(drawn)} of {len(shown.rows)} settings are drawn, the best among them."
    return Plot(
        chart=_chart(points, shown).properties(width=style.WIDTH, height=270),
        title=finding(shown, count),
        alt=f"{plural(len(drawn), 'setting')} of {name} as lines through "
        f"{', '.join(map(tried.axis_name, shown.axes))} and validation accuracy, from "
        f"{percent(shown.rows[-1]['mean'])} to {percent(shown.rows[0]['mean'])}.",
        table=DataTable.of(HEADS, points),
        note=note,
        link=link(shown, heights),
    )


def line_of_trial(summary: dict[str, Any]) -> dict[str, int]:
    """Key of a trial -> number of the line of its setting, for trials that have one."""
    shown = data(summary)
    rows = shown.rows if shown else []
    return {str(key): i + 1 for i, row in enumerate(rows) for key in row.get("trials") or []}


def link(shown: Settings, heights: dict[str, dict[Any, float]]) -> dict[str, Any]:
    """Of each axis the values between which lines can be chosen, and all lines' heights.

    Returns:
        axes: rows with name and values (text and height, ascending); lines: a list of heights, one
        for each axis, for every setting, thinned ones included.
    """
    axes = []
    for axis, found in heights.items():
        known = sorted(found.items(), key=lambda pair: pair[1])
        values = [[tried.value_text(axis, value), height] for value, height in known]
        axes.append({"name": tried.axis_name(axis), "values": values})
    means = [float(row["mean"]) for row in shown.rows]
    marks = np.unique(np.quantile(means, np.linspace(0, 1, _CHOICES), method="nearest"))
    ends = [[percent(m, 2), round(_accuracy_height(shown, float(m)), 4)] for m in marks]
    lines = [
        [
            *(round(heights[axis][row["setting"][axis]], 4) for axis in shown.axes),
            round(_accuracy_height(shown, float(row["mean"])), 4),
        ]
        for row in shown.rows
    ]
    return {"axes": [*axes, {"name": _ACCURACY, "values": ends}], "lines": lines}


def finding(shown: Settings, count: int) -> str:
    """What the best settings have in common."""
    said = []
    for axis in shown.axes:
        found = [tried.value_text(axis, v) for v in tried.values(shown.rows[:count], axis)]
        if len(found) < len(tried.values(shown.rows, axis)):
            one = found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
            said.append(f"{tried.axis_name(axis).lower()} {one}")
    name = shown.arms.short(shown.rows[0]["arm"])
    best = f"The best {count} of {len(shown.rows)} settings of {name}"
    if not said:
        return f"{best} lie all over the axes"
    return f"{best}: {', '.join(said)}"


def best_count(rows: list[dict[str, Any]]) -> int:
    """How many settings are highlighted."""
    return max(1, round(_BEST * len(rows)))


def thinned(rows: list[dict[str, Any]], count: int) -> list[int]:
    """The numbers of the rows that are drawn: the best `count`, and others evenly spread."""
    if len(rows) <= MOST:
        return list(range(len(rows)))
    kept = min(count, MOST // 2)
    others = np.linspace(kept, len(rows) - 1, MOST - kept).round().astype(int)
    return [*range(kept), *map(int, others)]


def _heights(shown: Settings, axis: str) -> dict[Any, float]:
    """Value -> height between 0 and 1: numbers to scale, and text evenly."""
    found = tried.values(shown.rows, axis)
    numbers = [number(v) for v in found]
    if any(x is None for x in numbers):
        return {v: i / (len(found) - 1) for i, v in enumerate(found)}
    low, high = float(found[0]), float(found[-1])
    return {v: (float(v) - low) / (high - low) for v in found}


def _accuracy_height(shown: Settings, mean: float) -> float:
    low, high = float(shown.rows[-1]["mean"]), float(shown.rows[0]["mean"])
    return (mean - low) / (high - low) if high > low else 0.5


def _line(
    i: int, shown: Settings, count: int, heights: dict[str, dict[Any, float]]
) -> list[dict[str, Any]]:
    """The points of one setting."""
    row = shown.rows[i]
    kind = _KINDS[0] if i < count else _KINDS[1]
    tip = parts.lines(tried.short(row["setting"]), f"Val. accuracy {percent(row['mean'])}",
                      f"{amount(row.get('n'))} seeds")  # fmt: skip
    line = {"line": i + 1, "kind": kind, "tip": tip}
    points = []
    for axis in shown.axes:
        value = row["setting"][axis]
        at = {"axis": tried.axis_name(axis), "text": tried.value_text(axis, value)}
        points.append(line | at | {"height": round(heights[axis][value], 4)})
    at = {"axis": _ACCURACY, "text": percent(row["mean"], 2)}
    height = _accuracy_height(shown, float(row["mean"]))
    return [*points, line | at | {"height": round(height, 4)}]


def _ticks(shown: Settings) -> list[dict[str, Any]]:
    """The values beside every axis; of many the outermost and evenly spread ones."""
    ticks = []
    for axis in shown.axes:
        heights = list(_heights(shown, axis).items())
        picked = np.linspace(0, len(heights) - 1, min(len(heights), 7)).round().astype(int)
        for value, height in (heights[i] for i in picked):
            text = tried.value_text(axis, value)
            ticks.append({"axis": tried.axis_name(axis), "height": height, "text": text})
    ends = {1.0: shown.rows[0]["mean"], 0.0: shown.rows[-1]["mean"]}
    return ticks + [
        {"axis": _ACCURACY, "height": height, "text": percent(mean, 2)}
        for height, mean in ends.items()
    ]


def _chart(points: list[dict[str, Any]], shown: Settings) -> alt.LayerChart:
    names = [*map(tried.axis_name, shown.axes), _ACCURACY]
    between = style.WIDTH / (len(names) - 1 + 2 * _PADDING)
    x = alt.X(
        "axis", type="nominal", title=None,
        scale=alt.Scale(type="point", domain=names, padding=_PADDING),
        axis=alt.Axis(labelAngle=0, labelExpr=_IN_LINES, labelColor=style.INK,
                      labelPadding=10 + _LINE * max(len(re.findall("[._]", n)) for n in names),
                      grid=True, gridColor=style.MUTED, domain=False, ticks=False, orient="top"),
    )  # fmt: skip
    y = alt.Y("height", type="quantitative", title=None, axis=None,
              scale=alt.Scale(domain=[-0.04, 1.04], nice=False))  # fmt: skip
    colour = parts.coloured(_KINDS, (style.BAND, style.MUTED), "kind")
    layers: list[Any] = []
    for kind, width, opacity in ((_KINDS[1], 1.0, 0.35), (_KINDS[0], 2.2, 0.9)):
        here = parts.chart(point for point in points if point["kind"] == kind)
        line = here.mark_line()
        layers.append(
            line.encode(
                x=x,
                y=y,
                color=colour,
                detail="line:N",
                tooltip=parts.tip(),
                opacity=alt.condition(_CHOSEN, alt.value(opacity), alt.value(0.04)),
                size=alt.condition(_POINTED, alt.value(4), alt.value(width)),
            )
        )
    ticks = parts.chart(_ticks(shown)).encode(x=x, y=y, text=alt.Text("text", type="nominal"))
    halo = ticks.mark_text(align="right", dx=-7, fontSize=11.5, limit=between - 14,
                           stroke=style.PAPER, strokeWidth=4)  # fmt: skip
    text = ticks.mark_text(align="right", dx=-7, fontSize=11.5, limit=between - 14)
    drawn: alt.LayerChart = parts.layered(*layers, halo, text).add_params(
        alt.param(name="chosen", value=None), alt.param(name="pointed", value=0)
    )
    return drawn


FIGURE = Figure(
    name="settings_lines",
    place="pareto",
    caption="Each line is a setting; deployed validation accuracy, mean over seeds.",
    data=data,
    draw=draw,
)
