"""Accuracy of every setting against its cost, with those named that no other setting beats."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style, tried
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, interval, number, percent, plural, ratio

WINDOW = 6.0  # points below the best that are drawn: a point stays visible
MOST_NAMED = 6  # in a panel
_NEAR = 1.0  # points: what the finding counts as nearly as good
_LABEL, _LINE, _NARROWEST = 130, 12, 150  # CSS pixels: of a name, its line, and a narrow panel
_SAME = 0.995  # of the MACs of dense: 1.00 when rounded
_INNER, _MARGIN, _HEIGHT = 255, 80, 280
_KINDS = {
    "Beaten by no other": (style.BAND, "circle"),
    "Beaten by another": (style.MUTED, "circle"),
    "Control": (style.SECOND, "cross"),
}
FRONT, BEATEN, CONTROL = _KINDS
_COSTS = {
    "macs_ratio": "MACs, relative to dense",
    "speed_ratio": "Measured images/s, relative to dense",
}
HEADS = {
    "name": "Arm",
    "place": "Setting",
    "kind": "Kind",
    "accuracy": "Val. accuracy (%)",
    "low": "Interval, from",
    "high": "Interval, to",
    **_COSTS,
    "sparsity": "Final sparsity (%)",
    "n": "Seeds",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Rows of the summary's `tried` with known multiply-accumulates."""

    rows: list[dict[str, Any]]
    arms: Arms


def data(summary: dict[str, Any]) -> Settings | None:
    """The settings with a known cost, if the front has more than one."""
    rows = [r for r in tried.rows(summary) if number(r.get("macs_ratio")) is not None]
    several = sum(bool(row.get("front")) for row in rows) > 1
    return Settings(rows, Arms.of(summary)) if several else None


def draw(shown: Settings) -> Plot:
    """Deployed accuracy against MACs, and against measured speed where there is one."""
    rows = [_row(row, shown.arms) for row in shown.rows]
    best = max(row["accuracy"] for row in rows if row["kind"] != CONTROL)
    drawn = [row for row in rows if row["accuracy"] >= best - WINDOW]
    fast = sum(row["speed_ratio"] is not None for row in drawn) > 1
    costs = list(_COSTS) if fast else ["macs_ratio"]
    panels = [_panel([r for r in drawn if r[cost] is not None], cost) for cost in costs]
    inner = _INNER if len(panels) > 1 else style.WIDTH
    front = [row for row in rows if row["kind"] == FRONT]
    lowest, highest = (f(r["accuracy"] for r in front) / 100 for f in (min, max))
    least, most = (f(r["macs_ratio"] for r in front) for f in (min, max))
    return Plot(
        chart=alt.concat(
            *(panel.properties(width=inner, height=_HEIGHT) for panel in panels), columns=2
        ),
        title=finding(front, len(rows)),
        alt=f"{plural(len(front), 'non-dominated setting')}: validation accuracy from "
        f"{percent(lowest)} to {percent(highest)} at {ratio(least)} to {ratio(most)} of the "
        "dense multiply-accumulates.",
        table=DataTable.of(HEADS, rows),
        note=f"{parts.sample(row['n'] for row in rows)} {_note(len(rows) - len(drawn))}".strip(),
        inner=inner,
        columns=len(panels),
        margin=_MARGIN,
    )


def finding(front: list[dict[str, Any]], count: int) -> str:
    """The cheapest setting that is nearly as good as the best."""
    best = max(row["accuracy"] for row in front)
    cheap = min((r for r in front if r["accuracy"] >= best - _NEAR), key=lambda r: r["macs_ratio"])
    unbeaten = f"{len(front)} of {plural(count, 'setting')} are beaten by no other"
    if cheap["macs_ratio"] > _SAME:
        return f"Nothing within {_NEAR:g} point of the best needs fewer MACs than dense; {unbeaten}"
    return (
        f"Within {_NEAR:g} point of the best, {cheap['name']} needs the fewest MACs: "
        f"{ratio(cheap['macs_ratio'])} of dense; {unbeaten}"
    )


def _note(hidden: int) -> str:
    if not hidden:
        return ""
    verb = "lies" if hidden == 1 else "lie"
    return f"{plural(hidden, 'setting')}, {WINDOW:g} points or more below the best, {verb} lower."


def _row(row: dict[str, Any], arms: Arms) -> dict[str, Any]:
    name, place = arms.short(row["arm"]), tried.short(row["setting"])
    kind = FRONT if row.get("front") else CONTROL if arms.is_control(row["arm"]) else BEATEN
    speed = number(row.get("speed_ratio"))
    tip = parts.lines(
        name, place, f"Val. accuracy {percent(row['mean'])}",
        f"Interval {interval(row.get('ci_low'), row.get('ci_high'))}",
        f"MACs {ratio(row['macs_ratio'])} of dense",
        f"Images/s {ratio(speed)} of dense" if speed is not None else "",
        f"Final sparsity {percent(row.get('sparsity'))}", f"{amount(row.get('n'))} seeds", kind,
    )  # fmt: skip
    return {
        "name": name, "place": place, "kind": kind, "tip": tip, "n": row.get("n"),
        "accuracy": parts.in_percent(row["mean"]), "low": parts.in_percent(row.get("ci_low")),
        "high": parts.in_percent(row.get("ci_high")), "speed_ratio": speed,
        "macs_ratio": number(row["macs_ratio"]), "sparsity": parts.in_percent(row.get("sparsity")),
        "label": f"{name} {tried.tight(row['setting'])}".strip(),
    }  # fmt: skip


def _within(row: dict[str, Any], heights: list[float]) -> dict[str, Any]:
    """A setting whose interval ends at the frame: a clipped mark takes time for all its length."""
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return row
    return row | {"low": max(low, heights[0]), "high": min(high, heights[1])}


def _panel(rows: list[dict[str, Any]], cost: str) -> alt.LayerChart:
    domain = parts.span((row[cost] for row in rows), least=0.1, pad=0.08)
    x = parts.x_axis(cost, _COSTS[cost], domain, tickCount=5)
    heights = parts.span(row["accuracy"] for row in rows)
    y = parts.y_axis("accuracy", "Val. accuracy (%)", heights)
    kinds = list(_KINDS)
    colour = parts.coloured(kinds, [c for c, _ in _KINDS.values()], "kind")
    shape = parts.shaped(kinds, [s for _, s in _KINDS.values()], "kind")
    own = [_within(row, heights) for row in rows if row["kind"] == FRONT]
    front = parts.chart(own, cost, "accuracy", "low", "high", "kind")
    beaten = [row for row in rows if row["kind"] != FRONT]
    rest = parts.chart(beaten, cost, "accuracy", "kind").encode(x=x, y=y)
    all_ = parts.chart(rows, cost, "accuracy", "tip").encode(x=x, y=y)
    bars = front.mark_rule(strokeWidth=1.2, opacity=0.45, clip=True)
    low, high = alt.Y("low", type="quantitative"), alt.Y2("high")
    return parts.layered(
        bars.encode(x=x, y=low, y2=high, color=colour),
        rest.mark_point(size=34, opacity=0.6).encode(color=colour, shape=shape),
        front.encode(x=x, y=y).mark_point(size=75).encode(color=colour, shape=shape),
        *labels(rows, cost, domain, heights),
        all_.mark_point(size=220, opacity=0).encode(tooltip=parts.tip()),
    )


def labels(
    rows: list[dict[str, Any]], cost: str, domain: list[float], heights: list[float]
) -> list[alt.Chart]:
    """Names beside the best settings of the front, towards the middle of the panel."""
    named = placed(rows, cost, domain, heights)
    texts = []
    for side in ("left", "right"):
        here = parts.chart((r for r in named if r["side"] == side), cost, "accuracy", "label")
        text = here.mark_text(align="left" if side == "left" else "right", fontSize=11, dy=-9,
                              dx=9 if side == "left" else -9, limit=_LABEL)  # fmt: skip
        at = alt.X(cost, type="quantitative")
        texts.append(text.encode(x=at, y=alt.Y("accuracy", type="quantitative"), text="label:N"))
    return texts


def placed(
    rows: list[dict[str, Any]], cost: str, domain: list[float], heights: list[float]
) -> list[dict[str, Any]]:
    """The best setting of the front at each cost, with the `side` of the panel it stands on.

    Those whose name would run over that of a better one are left out; hovering names them.
    """
    best: dict[float, dict[str, Any]] = {}
    for row in rows:  # the best first
        if row["kind"] == FRONT:
            best.setdefault(round(row[cost], 2), row)
    line = 2.2 * _LINE / _HEIGHT * (heights[1] - heights[0])
    taken: list[tuple[float, float, float]] = []
    chosen = []
    for row in sorted(best.values(), key=lambda r: -r["accuracy"])[:MOST_NAMED]:
        left = row[cost] < sum(domain) / 2
        # As wide as in the narrowest panel, so that a page may fit the figure to its room.
        wide = min(6.0 * len(row["label"]), _LABEL) / _NARROWEST * (domain[1] - domain[0])
        start, end = (row[cost], row[cost] + wide) if left else (row[cost] - wide, row[cost])
        if all(end < a or start > b or abs(row["accuracy"] - y) > line for a, b, y in taken):
            taken.append((start, end, row["accuracy"]))
            chosen.append(row | {"side": "left" if left else "right"})
    return chosen


FIGURE = Figure(
    name="pareto",
    place="pareto",
    caption="Deployed validation accuracy against multiply-accumulates, the choice of patches "
    "included, and against measured speed on the kept patches. Bars: intervals of the settings "
    "that no other setting beats in accuracy, MACs and final sparsity at once; the best at each "
    "cost is named (in percent, s: one-shot level, d: patches dropped, f: data for the masks).",
    data=data,
    draw=draw,
)
