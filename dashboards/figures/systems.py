"""Accuracy of every seed system against its cost, by family, with the weights that it keeps."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.figure import DataTable, Figure, Plot
from dashboards.figures.pareto import BEATEN, CONTROL, FRONT, WINDOW, labels
from dashboards.systems import all_rows, name, place
from dashboards.text import DASH, amount, interval, number, percent, plural, ratio

_COST = "macs_ratio"
_HEIGHT = 340
_COLOURS = ("ink", "green", "arm-1", "arm-2", "band", "second")
_LOOKS = {"Trained": "circle", "Not trained": "diamond", "Control": "cross"}
HEADS = {
    "family": "Family",
    "name": "System",
    "place": "Setting",
    "look": "Kind",
    "accuracy": "Val. accuracy (%)",
    "low": "Interval, from",
    "high": "Interval, to",
    _COST: "MACs, relative to dense",
    "kept": "Weights kept (%)",
    "n": "Seeds",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is drawn: a row for each system at each setting, and how verdicts fell."""

    rows: list[dict[str, Any]]
    beaten: int
    compared: int


def data(summary: dict[str, Any]) -> Shown | None:
    """The systems with a known accuracy and cost, if there are two or more."""
    found = [
        (family, row)
        for family, row in all_rows(summary)
        if number(row.get(_COST)) is not None and number(_validation(row).get("mean")) is not None
    ]
    verdicts = [c.get("verdict") for _, row in found for c in row.get("controls") or []]
    if len(found) < 2:
        return None
    rows = [_row(family, row) for family, row in found]
    return Shown(rows, verdicts.count("better"), len(verdicts))


def draw(shown: Shown) -> Plot:
    """One panel; points far below the best are counted in the caption."""
    best = max(row["accuracy"] for row in shown.rows if row["kind"] != CONTROL)
    drawn = [row for row in shown.rows if row["accuracy"] >= best - WINDOW]
    families = list(dict.fromkeys(row["family"] for row in shown.rows))
    hidden = len(shown.rows) - len(drawn)
    note = parts.sample(row["n"] for row in shown.rows)
    if hidden:
        verb = "lies" if hidden == 1 else "lie"
        note += f" {plural(hidden, 'setting')} {verb} {WINDOW:g} points or more below the best."
    return Plot(
        chart=_panel(drawn, families).properties(width=style.WIDTH, height=_HEIGHT),
        title=finding(shown),
        alt=f"{plural(len(shown.rows), 'setting')} of {plural(len(families), 'family')} "
        "by validation accuracy and multiply-accumulates; the table has their values."
        .replace("familys", "families"),
        table=DataTable.of(HEADS, shown.rows),
        note=note.strip(),
    )  # fmt: skip


def finding(shown: Shown) -> str:
    """How many systems are shown to beat their own control: no ranking of points."""
    front = sum(row["kind"] == FRONT for row in shown.rows)
    unbeaten = f"{front} of {plural(len(shown.rows), 'setting')} are beaten by no other"
    if not shown.compared:
        return f"No system has a control of its own in this sweep; {unbeaten} on validation"
    return (
        f"{shown.beaten} of {plural(shown.compared, 'comparison')} of a system with its own "
        f"control show it better; {unbeaten} on validation"
    )


def _validation(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = row.get("validation") or {}
    return found


def _row(family: str, row: dict[str, Any]) -> dict[str, Any]:
    val, title, where = _validation(row), name(row), place(row)
    look = "Control" if row.get("control") else "Trained" if row.get("trained") else "Not trained"
    kind = FRONT if row.get("front") else CONTROL if row.get("control") else BEATEN
    label = title if where == DASH else f"{title}, {where}"
    tip = parts.lines(
        title, where, family, f"Val. accuracy {percent(val.get('mean'))}",
        f"Interval {interval(val.get('ci_low'), val.get('ci_high'))}",
        f"Test accuracy {percent(row.get('test_accuracy'))}",
        f"MACs {ratio(row[_COST])} of dense", f"Weights kept {percent(row.get('kept'))}",
        f"Training MACs {ratio(row.get('training_ratio'))} of dense",
        f"{amount(row.get('n'))} seeds", kind,
    )  # fmt: skip
    return {
        "family": family, "name": title, "place": where, "look": look, "kind": kind, "tip": tip,
        "n": row.get("n"), "accuracy": parts.in_percent(val["mean"]),
        "low": parts.in_percent(val.get("ci_low")), "high": parts.in_percent(val.get("ci_high")),
        _COST: number(row[_COST]), "kept": parts.in_percent(row.get("kept")), "label": label,
    }  # fmt: skip


def _panel(rows: list[dict[str, Any]], families: list[str]) -> alt.LayerChart:
    rows = sorted(rows, key=lambda row: -row["accuracy"])
    domain = parts.span((row[_COST] for row in rows), least=0.1, pad=0.08)
    x = parts.x_axis(_COST, "MACs, relative to dense", domain, tickCount=5)
    ends = (row[end] for row in rows for end in ("accuracy", "low", "high"))
    heights = parts.span(ends)
    y = parts.y_axis("accuracy", "Val. accuracy (%)", heights)
    scale = alt.Scale(domain=families, range=[style.colour(c) for c in _colours(families)])
    # One narrow legend: the caption says what sizes and shapes mean.
    colour = alt.Color("family", type="nominal", scale=scale, legend=alt.Legend(columns=2))
    shape = parts.shaped(list(_LOOKS), list(_LOOKS.values()), "look", legend=False)
    sizes = alt.Scale(domain=[0, 100], range=[20, 170])
    size = alt.Size("kept", type="quantitative", scale=sizes, legend=None)
    bars = parts.chart(rows, _COST, "accuracy", "low", "high", "family")
    points = parts.chart(rows, _COST, "accuracy", "family", "look", "kept")
    tips = parts.chart(rows, _COST, "accuracy", "tip").encode(x=x, y=y)
    low, high = alt.Y("low", type="quantitative"), alt.Y2("high")
    return parts.layered(
        bars.mark_rule(strokeWidth=1.1, opacity=0.35, clip=True).encode(
            x=x, y=low, y2=high, color=colour
        ),
        points.mark_point(opacity=0.85).encode(x=x, y=y, color=colour, shape=shape, size=size),
        *labels(rows, _COST, domain, heights),
        tips.mark_point(size=240, opacity=0).encode(tooltip=parts.tip()),
    )


def _colours(families: list[str]) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(len(families))]


FIGURE = Figure(
    name="systems",
    place="systems",
    caption="Deployed validation accuracy against multiply-accumulates of the same forward pass. "
    "Colour: family; size: share of the prunable weights kept; cross: control; diamond: not "
    "trained. Bars: intervals. Settings that no other beats in accuracy, MACs and final sparsity "
    "at once are named where there is room. The tables below have the test accuracies.",
    data=data,
    draw=draw,
)
