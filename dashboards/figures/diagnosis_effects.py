"""What each single change to an anchor of the diagnosis does."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.diagnosis import by_anchor, change, told_apart
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, clean, number, plural, points, points_interval

MOST_EFFECTS = 14  # changes of one anchor that fit into a panel
HEADS = {
    "anchor": "Anchor",
    "name": "Change",
    "when": "When",
    "effect": "Effect (points)",
    "low": "Interval, from",
    "high": "Interval, to",
    "n": "Seeds",
}
_WHEN = {
    "Right after pruning": ("effect_pruned", "low", "high"),
    "After fine-tuning": ("effect_final", "final_low", "final_high"),
}
_UNCLEAR = "Right after pruning, not told from zero"

Groups = list[tuple[dict[str, Any], list[dict[str, Any]]]]
"""Anchors and the changes around each, the largest effect first."""


def data(summary: dict[str, Any]) -> Groups | None:
    """The anchors with the largest effects around each, if any."""
    groups = by_anchor(summary.get("diagnosis") or {})
    return [(anchor, rows[:MOST_EFFECTS]) for anchor, rows in groups] or None


def draw(groups: Groups) -> Plot:
    """What each single change does to the accuracy, a panel per anchor."""
    drawn = [(clean(f"Changes to {anchor.get('name')}", 70), _rows(anchor, rows))
             for anchor, rows in groups]  # fmt: skip
    window = reach([row for _, rows in drawn for row in rows])
    panels = [_panel(rows, window).properties(title=title, width=style.WIDTH, height=alt.Step(13))
              for title, rows in drawn]  # fmt: skip
    best = groups[0][1][0]
    effect = best.get("effect_pruned")
    effect = best.get("effect_final") if effect is None else effect
    count = plural(sum(len(rows) for _, rows in groups), "single change")
    return Plot(
        chart=alt.vconcat(*panels, spacing=18).resolve_scale(color="shared", shape="shared"),
        title=f"The largest effect: {change(best, 80)}, {points(effect)} points",
        alt=f"Effect of {count} on accuracy, largest first; the largest is {change(best, 200)} "
        f"with {points(effect)} points.",
        table=DataTable.of(HEADS, [row for _, rows in drawn for row in rows]),
        margin=parts.label_margin(row["name"] for _, rows in drawn for row in rows),
        note=parts.sample(row["n"] for _, rows in drawn for row in rows),
    )


def reach(rows: Sequence[dict[str, Any]]) -> list[float]:
    """The range of the means and half as much on either side; wide intervals are cut off."""
    means = [0.0, *(row["effect"] for row in rows if row["effect"] is not None)]
    pad = max(1.0, 0.5 * (max(means) - min(means)))
    return [min(means) - pad, max(means) + pad]


def _rows(anchor: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two rows for each change: right after pruning, and after fine-tuning."""
    names: dict[str, int] = {}
    drawn = []
    for row in rows:
        name = change(row)
        names[name] = names.get(name, 0) + 1
        name = name if names[name] == 1 else f"{name} ({names[name]})"
        for when, fields in _WHEN.items():
            effect, low, high = (row.get(field) for field in fields)
            if number(effect) is None:
                continue
            first = when in tuple(_WHEN)[:1]
            look = _UNCLEAR if first and not told_apart(row) else when
            tip = parts.lines(change(row, 200), f"{when}: {points(effect)} points",
                              f"Interval {points_interval(low, high)}",
                              f"{amount(row.get('n'))} seeds")  # fmt: skip
            drawn.append({
                "anchor": clean(anchor.get("name"), 120), "name": name, "when": when, "look": look,
                "effect": parts.in_percent(effect), "low": parts.in_percent(low),
                "high": parts.in_percent(high), "n": row.get("n"), "tip": tip,
            })  # fmt: skip
    return drawn


def _panel(rows: list[dict[str, Any]], window: list[float]) -> alt.LayerChart:
    """One anchor: the largest effect on top."""
    looks = (*_WHEN, _UNCLEAR)
    colour = parts.coloured(looks[:3], (style.BAND, style.SECOND, style.MUTED), "look")
    shape = parts.shaped(looks[:3], ("circle", "square", "circle"), "look")
    names = list(dict.fromkeys(row["name"] for row in rows))
    scale = alt.Scale(domain=list(_WHEN))
    beside = alt.YOffset("when", type="nominal", scale=scale)
    y = parts.names_axis(names, labelLimit=230)
    x = parts.x_axis("effect", "Effect on accuracy (points)", window)
    bounded = parts.chart(row for row in rows if row["low"] is not None)
    rule = bounded.mark_rule(strokeWidth=2, clip=True)
    low = alt.X("low", type="quantitative")
    base = parts.chart(rows).encode(x=x, y=y, yOffset=beside)
    return parts.layered(
        parts.zero_line(),
        rule.encode(x=low, x2="high", y=y, yOffset=beside, color=colour),
        base.mark_point(clip=True, size=55).encode(color=colour, shape=shape),
        base.mark_point(clip=True, size=200, opacity=0).encode(tooltip=parts.tip()),
    )


FIGURE = Figure(
    name="diagnosis_effects",
    place="diagnosis",
    caption="What each single change does, largest first; grey: cannot be told from zero right "
    "after pruning. An interval may go on beyond the edge.",
    data=data,
    draw=draw,
)
