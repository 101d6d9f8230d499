"""Loss of the one-shot pruned model against sparsity, and where it exceeds the tolerance."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.figure import DataTable, Figure, Plot
from dashboards.headline import recovered
from dashboards.text import (
    amount,
    clean,
    level,
    number,
    percent,
    plural,
    points,
    points_interval,
    tolerance_points,
)

MOST_TOLERANCES = 5  # losses beyond this many tolerances are cut off

COLUMNS = {
    "sparsity": "Sparsity (%)",
    "loss": "Loss against dense (points)",
    "low": "Interval, from",
    "high": "Interval, to",
    "n": "Dense models",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """The levels in ascending order, the essential sparsity, and the confidence in words."""

    levels: list[dict[str, Any]]
    essential: dict[str, Any]
    confidence: str


def data(summary: dict[str, Any]) -> Curve | None:
    """The one-shot curve, if any level was measured."""
    essential = summary.get("essential_sparsity") or {}
    levels = sorted(
        (row for row in essential.get("curve") or [] if number(row.get("sparsity")) is not None),
        key=lambda row: float(row["sparsity"]),
    )
    return Curve(levels, essential, percent(summary.get("confidence", 0.95), 0)) if levels else None


def draw(shown: Curve) -> Plot:
    """Loss of the pruned model against sparsity, with the tolerance, s* and its interval."""
    curve, essential = shown.levels, shown.essential
    level_zero = essential.get("reference") == "level_zero"
    compared = "Level 0, fine-tuned alike" if level_zero else "Dense"
    rows = [_row(row, shown.confidence) for row in curve]
    tolerance = parts.in_percent(essential.get("tolerance"))
    window = loss_range(rows, tolerance)
    against = "level 0" if level_zero else "dense"
    layers: list[Any] = [*_marked(essential, rows), *_curve(rows, window, against)]
    if tolerance is not None:
        label = f"Tolerance: {tolerance_points(essential.get('tolerance'))}"
        layers.append(parts.level_line(tolerance, label, style.DOTTED))
    layers.append(parts.level_line(0.0, compared, style.DASHED, above=False))
    first, last = curve[0], curve[-1]
    alt_text = (
        f"Loss of validation accuracy against sparsity at {plural(len(curve), 'level')}, from "
        f"{points(first.get('drop'))} points at {level(first['sparsity'])} sparsity to "
        f"{points(last.get('drop'))} at {level(last['sparsity'])}; "
        f"tolerance {tolerance_points(essential.get('tolerance'))}; "
        f"essential sparsity {level(essential.get('value'))}."
    )
    return Plot(
        chart=parts.layered(*layers).properties(width=style.WIDTH, height=300),
        title=finding(curve, essential),
        alt=alt_text,
        table=DataTable.of(COLUMNS, rows),
        note=_note(shown),
    )


def finding(curve: list[dict[str, Any]], essential: dict[str, Any]) -> str:
    """What the curve says, in one sentence."""
    pruned = "pruned in one shot"
    if recovered(essential):
        pruned += " and fine-tuned"
    value = number(essential.get("value"))
    if value is None:
        return f"What it costs to be {pruned}, by sparsity"
    beyond = next((row for row in curve if float(row["sparsity"]) > value + 1e-9), None)
    if beyond is None:
        return f"Even {level(value)}, the highest level, can be {pruned}"
    lost = f"{level(beyond['sparsity'])} loses {points(beyond.get('drop')).lstrip('+')} points"
    if value == 0:
        return f"No level can be {pruned}: {lost}"
    return f"Up to {level(value)} can be {pruned}; {lost}"


def loss_range(rows: list[dict[str, Any]], tolerance: float | None) -> list[float]:
    """The vertical range in points: near the tolerance, so that a collapse does not hide it."""
    known = [row[f] for row in rows for f in ("loss", "low", "high") if row[f] is not None]
    size = tolerance or 1.0
    top = min(max([*known, 2 * size]), MOST_TOLERANCES * size)
    bottom = max(min([*known, -0.6 * size]), -2 * size)
    room = 0.04 * (top - bottom)
    return [bottom - room, top + room]


def _row(row: dict[str, Any], confidence: str) -> dict[str, Any]:
    loss, low, high = (parts.in_percent(row.get(f)) for f in ("drop", "drop_low", "drop_high"))
    limits = points_interval(row.get("drop_low"), row.get("drop_high"))
    tip = parts.lines(
        f"{level(row['sparsity'])} sparsity",
        f"Loss {points(row.get('drop'))} points",
        f"{confidence} interval {limits}" if low is not None else "",
        f"Val. accuracy {percent(row.get('val_accuracy'))}",
        f"{amount(row.get('n'))} dense models",
    )
    sparsity = parts.in_percent(row["sparsity"])
    return {"sparsity": sparsity, "loss": loss, "low": low, "high": high, "n": row.get("n"),
            "tip": tip}  # fmt: skip


def _curve(rows: list[dict[str, Any]], window: list[float], against: str) -> list[Any]:
    """Interval, line, points, and a mark at the edge for each loss beyond it."""
    x = parts.x_axis("sparsity", "Sparsity of the prunable weights (%)",
                     parts.span((row["sparsity"] for row in rows), pad=0.03))  # fmt: skip
    y = parts.y_axis("loss", f"Loss against {against} (points)", window)
    drawn = parts.chart([row for row in rows if row["loss"] is not None])
    bounded = parts.chart(
        [row for row in rows if row["low"] is not None and row["high"] is not None]
    )
    inside = parts.chart([r for r in rows if r["loss"] is not None and r["loss"] <= window[1]])
    outside = [
        row | {"edge": window[1], "label": f"▲ {row['loss']:.1f}"}
        for row in rows
        if row["loss"] is not None and row["loss"] > window[1]
    ]
    low, high = alt.Y("low", type="quantitative"), alt.Y2("high")
    edge = alt.Y("edge", type="quantitative")
    ends = [
        parts.chart(line)
        .mark_text(align="right", baseline="top", dx=-8, dy=2 + 13 * i, color=style.BAND)
        .encode(x=x, y=edge, text="label:N", tooltip=parts.tip())
        for i, line in enumerate((outside[::2], outside[1::2]))  # neighbours would touch
        if line
    ]
    return [
        bounded.mark_area(color=style.BAND, opacity=0.16, clip=True).encode(x=x, y=low, y2=high),
        bounded.mark_rule(color=style.BAND, clip=True, strokeWidth=1.4).encode(x=x, y=low, y2=high),
        drawn.mark_line(color=style.BAND, clip=True).encode(x=x, y=y),
        inside.mark_point(color=style.BAND).encode(x=x, y=y),
        *ends,
        parts.hover(inside.encode(x=x, y=y)),
    ]


def _marked(essential: dict[str, Any], rows: list[dict[str, Any]]) -> list[Any]:
    """s* of every detector, and the interval of the chosen one; an open end reaches to the edge."""
    value, low, high = (parts.in_percent(essential.get(f)) for f in ("value", "low", "high"))
    marks: list[Any] = []
    if low is not None or high is not None:
        left = rows[0]["sparsity"] if low is None else low
        right = rows[-1]["sparsity"] if high is None else high
        marks.append(parts.band(left, right, style.MARK, 0.16))
    chosen = [(value, f"s* = {level(essential.get('value'))}", True)] if value is not None else []
    for i, (x, label, main) in enumerate([*chosen, *_others(essential)]):
        here = parts.chart([{"x": x, "label": label, "tip": label}])
        colour = style.MARK if main else style.MUTED
        at = alt.X("x", type="quantitative")
        rule = here.mark_rule(color=colour, strokeWidth=2 if main else 1.2,
                              strokeDash=style.SOLID if main else style.DOTTED)  # fmt: skip
        text = here.mark_text(color=colour, fontWeight="bold" if main else "normal")
        marks.append(rule.encode(x=at, tooltip=parts.tip()))
        marks.append(text.encode(x=at, y=parts.Y_PIXEL(-8 - 15 * i), text="label:N"))
    return marks


def _others(essential: dict[str, Any]) -> list[tuple[float, str, bool]]:
    """The other detectors; those that agree share a line."""
    named: dict[float, list[str]] = {}
    for row in essential.get("detectors") or []:
        value = parts.in_percent(row.get("value"))
        if row.get("detector") != essential.get("detector") and value is not None:
            name = clean(row.get("detector"), 40).replace("_", " ").capitalize()
            named.setdefault(value, []).append(name)
    return [(x, f"{', '.join(names)}: {level(x / 100)}", False) for x, names in named.items()]


def _note(shown: Curve) -> str:
    scope = clean(shown.essential.get("scope"), 40)
    about = f"Bars: {shown.confidence} interval{f', {scope}' if scope else ''}."
    value, low = shown.essential.get("value"), shown.essential.get("low")
    if number(value) is not None and number(low) is not None:
        about += " Shaded upright: the interval of s*."
    return f"{about} {parts.sample((r.get('n') for r in shown.levels), 'dense model')}".strip()


FIGURE = Figure(
    name="essential_sparsity",
    place="essential",
    caption="Loss of validation accuracy, paired by image, of models pruned in one shot [LOTUS, "
    "figure 2].",
    data=data,
    draw=draw,
)
