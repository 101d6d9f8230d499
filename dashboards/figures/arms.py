"""Every arm minus dense on test, in both scopes, controls below."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, number, percent, points, points_interval, tolerance_points

FAR = 0.06  # points that are drawn at most below the best; an arm further down gets an arrow
HEADS = {
    "name": "Arm",
    "kind": "Kind",
    "difference": "Difference to dense (points)",
    "models_low": "These models, from",
    "models_high": "to",
    "seeds_low": "Other seeds, from",
    "seeds_high": "to ",
    "n": "Seeds",
}
_SCOPES = {"models": "These models", "seeds": "Other seeds"}
_KINDS = ("Method and its parts", "Controls")


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows of the summary's `arms` that differ from dense by a known amount, in their order."""

    rows: list[dict[str, Any]]
    arms: Arms
    tolerance: float | None
    confidence: str

    @property
    def names(self) -> dict[str, str]:
        """Arm -> its short label."""
        return self.arms.names([str(row["arm"]) for row in self.rows])


def data(summary: dict[str, Any]) -> Forest | None:
    """The arms that were compared with dense, if any."""
    arms = Arms.of(summary)
    rows = [
        a for a in summary.get("arms") or [] if number(a.get("difference_to_dense")) is not None
    ]
    rows.sort(key=lambda a: (arms.is_control(a["arm"]), arms.rank(str(a["arm"]))))
    tolerance = number((summary.get("recommended") or {}).get("tolerance"))
    if tolerance is None:
        tolerance = number((summary.get("essential_sparsity") or {}).get("tolerance"))
    confidence = percent(summary.get("confidence", 0.95), 0)
    return Forest(rows, arms, tolerance, confidence) if rows else None


def draw(shown: Forest) -> Plot:
    """Differences of test accuracy to dense with two intervals an arm, method above controls."""
    rows = [_row(row, shown) for row in shown.rows]
    window = difference_range(rows, parts.in_percent(shown.tolerance))
    panels = [
        _panel([r for r in rows if r["kind"] == kind], shown, window).properties(
            title=kind, width=style.WIDTH, height=alt.Step(30)
        )
        for kind in _KINDS
        if any(r["kind"] == kind for r in rows)
    ]
    shaded = f"; shaded: within {tolerance_points(shown.tolerance)} of dense"
    said = "; ".join(f"{row['name']} {points(row['difference'] / 100)}" for row in rows)
    return Plot(
        chart=alt.vconcat(*panels, spacing=14),
        title=finding(shown),
        alt=f"Test accuracy minus dense, in points: {said}.",
        table=DataTable.of(HEADS, rows),
        note=f"Intervals: {shown.confidence}, each on its own"
        + (f"{shaded}. " if shown.tolerance else ". ")
        + parts.sample(row.get("n") for row in shown.rows),
        margin=parts.label_margin(shown.names.values()),
    )


def finding(shown: Forest) -> str:
    """The whole method, or else the best arm, beside the best control."""
    method = [r for r in shown.rows if not shown.arms.is_control(r["arm"])]
    controls = [r for r in shown.rows if shown.arms.is_control(r["arm"])]
    lead = next((r for r in method if shown.arms.on_top(r["arm"])), None)
    lead = lead or max(method or controls, key=_difference)
    text = f"{shown.arms.short(lead['arm'])} {_from_dense(_difference(lead))}"
    if not controls or lead in controls:
        return text
    best = max(controls, key=_difference)
    label = shown.arms.short(best["arm"])
    label = label[:1].lower() + label[1:]
    return f"{text}; the best control, {label}, {_from_dense(_difference(best))[3:]}"


def difference_range(rows: list[dict[str, Any]], tolerance: float | None) -> list[float]:
    """The horizontal range in points: all, without what lies far below the best arm."""
    best = max([0.0, *(row["difference"] for row in rows)])
    fields = ("difference", "models_low", "models_high", "seeds_low", "seeds_high")
    near = [r for r in rows if r["difference"] > best - 100 * FAR]
    means = [r["difference"] for r in near]
    reach = max(1.0, max(means, default=0.0) - min(means, default=0.0))
    known = [v for r in near for f in fields if (v := r[f]) is not None]
    # A wide interval is cut off, so that the differences stay apart.
    low, high = min([0.0, *means]) - 2 * reach, max([0.0, *means]) + 2 * reach
    limit = [tolerance, -tolerance] if tolerance else []
    return parts.span([0.0, *limit, *(min(max(v, low), high) for v in known)])


def _difference(row: dict[str, Any]) -> float:
    return float(row["difference_to_dense"])


def _from_dense(difference: float) -> str:
    """`is 0.4 points below dense`."""
    size = points(difference).lstrip("+−")
    if float(size) == 0:
        return "is level with dense"
    return f"is {size} points {'above' if difference > 0 else 'below'} dense"


def _row(row: dict[str, Any], shown: Forest) -> dict[str, Any]:
    name = shown.names[str(row["arm"])]
    tip = parts.lines(
        f"{name}: {points(row['difference_to_dense'])} points",
        *(f"{label} {points_interval(row.get(f'{scope}_low'), row.get(f'{scope}_high'))}"
          for scope, label in _SCOPES.items()),
        f"Test accuracy {percent(row.get('test_accuracy_mean'))}, {amount(row.get('n'))} seeds",
    )  # fmt: skip
    drawn = {f"{s}_{end}": parts.in_percent(row.get(f"{s}_{end}")) for s in _SCOPES
             for end in ("low", "high")}  # fmt: skip
    return drawn | {
        "name": name, "kind": _KINDS[shown.arms.is_control(row["arm"])], "arm": str(row["arm"]),
        "difference": parts.in_percent(row["difference_to_dense"]), "n": row.get("n"), "tip": tip,
    }  # fmt: skip


def _panel(rows: list[dict[str, Any]], shown: Forest, window: list[float]) -> alt.LayerChart:
    y = parts.names_axis([row["name"] for row in rows])
    x = parts.x_axis("difference", "Test accuracy minus dense (points)", window)
    # All arms in the scales of both panels, because Vega-Lite shares scales of colour and shape.
    arms, names = list(shown.names), list(shown.names.values())
    colour = parts.coloured(names, [shown.arms.colour(arm) for arm in arms], legend=False)
    shape = parts.shaped(names, [shown.arms.marker(arm) for arm in arms], legend=False)
    inside = [row for row in rows if row["difference"] >= window[0]]
    layers: list[Any] = []
    if shown.tolerance:
        layers.append(parts.band(-100 * shown.tolerance, 100 * shown.tolerance, style.MUTED, 0.13))
    layers.append(parts.zero_line())
    for scope, width, down in (("models", 5.0, 0), ("seeds", 1.6, 8)):
        known = parts.chart(r for r in inside if r[f"{scope}_low"] is not None)
        rule = known.mark_rule(strokeWidth=width, yOffset=down, clip=True)
        low = alt.X(f"{scope}_low", type="quantitative")
        layers.append(rule.encode(y=y, x=low, x2=f"{scope}_high", color=colour))
    points_ = parts.chart(inside).encode(y=y, x=x)
    mark = points_.mark_point(size=110, stroke=style.PAPER, strokeWidth=1)
    layers += [mark.encode(color=colour, shape=shape), parts.hover(points_)]
    far = [r | {"label": f"◄ {points(r['difference'] / 100)}"} for r in rows if r not in inside]
    text = parts.chart(far).mark_text(align="left", dx=4)
    layers.append(text.encode(y=y, x=parts.X_PIXEL(0), text="label:N", tooltip=parts.tip()))
    return parts.layered(*layers)


FIGURE = Figure(
    name="arms",
    place="arms",
    caption="Test accuracy of every arm minus dense, on the tokens used, paired by seed and "
    "image. Thick bar: these models; thin bar below: other seeds (3 seeds or more). An arrow "
    "stands for an arm that lies further left; an interval may go on beyond the edge.",
    data=data,
    draw=draw,
)
