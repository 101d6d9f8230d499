"""Accuracy against cost of every setting, with those named that no other setting beats."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.search import front
from dashboards.text import amount, level, number, percent, plural, ratio

HEADS = {
    "name": "Arm",
    "place": "Setting",
    "kind": "Kind",
    "macs": "MACs, relative to dense",
    "accuracy": "Val. accuracy (%)",
    "sparsity": "Final sparsity (%)",
    "n": "Seeds",
}


@dataclass(frozen=True, slots=True)
class Front:
    """Rows of the summary's `pareto` with a known cost."""

    rows: list[dict[str, Any]]
    arms: Arms


def data(summary: dict[str, Any]) -> Front | None:
    """The settings of the front with known cost, if there is more than one."""
    known = ("macs_ratio", "sparsity_mean", "val_accuracy_mean")
    rows = [r for r in front(summary) if all(number(r.get(f)) is not None for f in known)]
    return Front(rows, Arms.of(summary)) if rows else None


def draw(shown: Front) -> Plot:
    """Accuracy of the front against its multiply-accumulates."""
    rows = [_row(row, shown.arms) for row in shown.rows]
    x = parts.x_axis("macs", "MACs, relative to dense",
                     parts.span((r["macs"] for r in rows), least=0.1))  # fmt: skip
    y = parts.y_axis("accuracy", "Val. accuracy (%)", parts.span(r["accuracy"] for r in rows))
    base = parts.chart(rows).encode(x=x, y=y)
    chart = alt.layer(base.mark_point(color=style.BAND), parts.hover(base))
    lowest, highest = (f(r["accuracy"] for r in rows) / 100 for f in (min, max))
    least, most = (f(r["macs"] for r in rows) for f in (min, max))
    return Plot(
        chart=chart.properties(width=style.WIDTH, height=300),
        title=f"{plural(len(rows), 'setting')} that no other setting beats",
        alt=f"{plural(len(rows), 'non-dominated setting')}: validation accuracy from "
        f"{percent(lowest)} to {percent(highest)} at {ratio(least)} to {ratio(most)} of the "
        "dense multiply-accumulates.",
        table=DataTable.of(HEADS, rows),
    )


def _row(row: dict[str, Any], arms: Arms) -> dict[str, Any]:
    name = arms.short(row["arm"])
    setting = row.get("setting") or {}
    tip = parts.lines(name, percent(row["val_accuracy_mean"]), ratio(row["macs_ratio"]))
    return {"name": name, "macs": row["macs_ratio"],
            "accuracy": parts.in_percent(row["val_accuracy_mean"]), "n": amount(row.get("n")),
            "sparsity": parts.in_percent(row["sparsity_mean"]), "tip": tip,
            "place": level(setting.get("sparsity"))}  # fmt: skip


FIGURE = Figure(
    name="pareto",
    place="pareto",
    caption="The settings that no other setting beats.",
    data=data,
    draw=draw,
)
