"""How much of the variance of accuracy each axis explains alone."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style, tried
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, number, percent

HEADS = {"name": "Axis", "share": "Share of the variance (%)"}
_REST = "Together, and the rest"


@dataclass(frozen=True, slots=True)
class Shares:
    """The summary's `importance`, and the arms."""

    found: dict[str, Any]
    arms: Arms


def data(summary: dict[str, Any]) -> Shares | None:
    """The shares; a summary has them from three axes and thirty trials on."""
    found = summary.get("importance") or {}
    return Shares(found, Arms.of(summary)) if found.get("axes") else None


def draw(shown: Shares) -> Plot:
    """A bar for each axis, the largest first, and one for what no axis explains alone."""
    rows = [_row(tried.axis_name(row["axis"]), float(row["share"])) for row in shown.found["axes"]]
    rest = 1.0 - sum(float(row["share"]) for row in shown.found["axes"])
    rows.append(_row(_REST, max(rest, 0.0)))
    x = parts.x_axis("share", "Share of the variance of accuracy (%)", [0, 108])
    base = parts.chart(rows).encode(x=x, y=parts.names_axis([row["name"] for row in rows]))
    chart = parts.layered(
        base.mark_bar(color=style.BAND, height=15).encode(tooltip=parts.tip()),
        base.mark_text(align="left", dx=5).encode(text=alt.Text("label", type="nominal")),
    )
    name, first = shown.arms.short(shown.found.get("arm")), rows[0]
    said = "; ".join(f"{row['name']} {row['label']}" for row in rows)
    return Plot(
        chart=chart.properties(width=style.WIDTH, height=alt.Step(26)),
        title=f"{first['name']} alone explains {first['label']} of the variance between settings",
        alt=f"Share of the variance of validation accuracy: {said}.",
        table=DataTable.of(HEADS, rows),
        note=f"Shown is {name}, {amount(shown.found.get('n'))} trials.",
        margin=parts.label_margin(row["name"] for row in rows),
    )


def _row(name: str, share: float) -> dict[str, Any]:
    label = percent(share, 0)
    return {"name": name, "share": round(100 * (number(share) or 0.0), 2), "label": label,
            "tip": parts.lines(name, f"{label} of the variance")}  # fmt: skip


FIGURE = Figure(
    name="importance",
    place="pareto",
    caption="Eta squared: the variance of deployed validation accuracy between the means of an "
    "axis’ values, in the whole variance between settings. It holds for the values that were "
    "tried.",
    data=data,
    draw=draw,
)
