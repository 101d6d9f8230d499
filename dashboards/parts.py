"""Parts that figures are put together from: axes, reference lines, intervals, what hovering shows.

Fields of rows are fixed names of this program, and all text of a sweep is in their values: a
name of a user never becomes a part of an expression.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from dashboards import style
from dashboards.text import number

Row = dict[str, Any]

X_PIXEL: Any = alt.XValue  # Any: it has no types
Y_PIXEL: Any = alt.YValue
"""A place in pixels, or at the end (`width`, `height`)."""


def chart(rows: Iterable[Row], *fields: str) -> alt.Chart:
    """A chart of rows, with these fields or else all; its marks are still to be said."""
    drawn = [{field: row[field] for field in fields} if fields else row for row in rows]
    return alt.Chart(alt.InlineData(values=drawn))


def layered(*layers: Any) -> alt.LayerChart:
    """Charts on each other, the first at the bottom."""
    return alt.LayerChart(layer=list(layers))


def in_percent(value: Any) -> float | None:
    """A fraction as a number of percent, rounded to what a picture can show; None stays None."""
    x = number(value)
    return None if x is None else round(100 * x, 4)


def span(values: Iterable[float | None], least: float = 1.0, pad: float = 0.06) -> list[float]:
    """The range of an axis: all values with room on both sides, at least `least` wide.

    The unit is that of the values; unknown ones are left out. Without any it is 0 to `least`.
    """
    known = [v for v in values if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, least)
    missing = max(0.0, least - (high - low)) / 2
    room = pad * max(high - low, least)
    return [low - missing - room, high + missing + room]


def x_axis(field: str, title: str, domain: Sequence[float] | None = None, **axis: Any) -> alt.X:
    """A horizontal axis of numbers."""
    return alt.X(field, type="quantitative", title=title, scale=_scale(domain), axis=_axis(axis))


def y_axis(field: str, title: str, domain: Sequence[float] | None = None, **axis: Any) -> alt.Y:
    """A vertical axis of numbers."""
    return alt.Y(field, type="quantitative", title=title, scale=_scale(domain), axis=_axis(axis))


def _scale(domain: Sequence[float] | None) -> alt.Scale:
    if domain is None:
        return alt.Scale(zero=False)
    return alt.Scale(domain=list(domain), zero=False, nice=False)


def _axis(options: Row) -> alt.Axis:
    return alt.Axis(**options)


def names_axis(names: Sequence[str], field: str = "name", **axis: Any) -> alt.Y:
    """A vertical axis of names in their order, the first on top."""
    options: Row = {"labelColor": style.INK, "grid": False} | axis
    title = options.pop("title", None)
    # Not `sort`, which would make expressions of the names.
    return alt.Y(
        field,
        type="nominal",
        title=title,
        scale=alt.Scale(domain=list(names)),
        axis=alt.Axis(**options),
    )


def coloured(
    names: Sequence[str], colours: Sequence[str], field: str = "name", legend: bool = True
) -> alt.Color:
    """A colour for each name."""
    scale = alt.Scale(domain=list(names), range=list(colours))
    shown: Any = alt.Undefined if legend else None
    return alt.Color(field, type="nominal", scale=scale, legend=shown)


def shaped(
    names: Sequence[str], shapes: Sequence[str], field: str = "name", legend: bool = True
) -> alt.Shape:
    """A marker for each name."""
    scale = alt.Scale(domain=list(names), range=list(shapes))
    shown: Any = alt.Undefined if legend else None
    return alt.Shape(field, type="nominal", scale=scale, legend=shown)


def dashed(
    names: Sequence[str], dashes: Sequence[Sequence[int]], field: str = "name"
) -> alt.StrokeDash:
    """Dashes for each name, without a legend of their own."""
    scale = alt.Scale(domain=list(names), range=[list(d) for d in dashes])
    return alt.StrokeDash(field, type="nominal", scale=scale, legend=None)


def tip() -> alt.Tooltip:
    """What hovering shows: the row's `tip`, lines of finished text."""
    return alt.Tooltip("tip", type="nominal")


def hover(points: alt.Chart) -> alt.Chart:
    """Invisible marks, large enough to be hit, that show each row's `tip`; x and y are encoded."""
    marks = points.mark_point(size=420, opacity=0, filled=True, shape="circle")
    drawn: alt.Chart = marks.encode(tooltip=tip())
    return drawn


def level_line(y: float, label: str, dashes: Sequence[int], above: bool = True) -> alt.LayerChart:
    """A horizontal reference line with its label at the right end."""
    here = chart([{"y": y, "label": label}])
    rule = here.mark_rule(color=style.INK, strokeDash=list(dashes), strokeWidth=1.2)
    at = alt.Y("y", type="quantitative")
    place: dict[str, Any] = {"align": "right", "baseline": "bottom" if above else "top"}
    place |= {"dy": -3 if above else 4}
    # A halo, because lines may run behind.
    looks = ({"stroke": style.PAPER, "strokeWidth": 3, "opacity": 0.85}, {"color": style.INK})
    texts = [
        here.mark_text(**place, **look).encode(
            y=at, x=X_PIXEL("width"), text=alt.Text("label", type="nominal")
        )
        for look in looks
    ]
    return layered(rule.encode(y=at), *texts)


def zero_line(x: float = 0.0) -> alt.Chart:
    """A vertical reference line."""
    rule = chart([{"x": x}]).mark_rule(color=style.INK, strokeDash=style.DASHED, strokeWidth=1.2)
    drawn: alt.Chart = rule.encode(x=alt.X("x", type="quantitative"))
    return drawn


def band(low: float, high: float, colour: str = style.BAND, opacity: float = 0.1) -> alt.Chart:
    """A range of the horizontal axis, from top to bottom."""
    rect = chart([{"low": low, "high": high}]).mark_rect(color=colour, opacity=opacity, clip=True)
    drawn: alt.Chart = rect.encode(x=alt.X("low", type="quantitative"), x2="high")
    return drawn


def label_margin(names: Iterable[str], most: int = 230) -> int:
    """About the room in CSS pixels that names take at the left of an axis."""
    return min(most, round(30 + 6.6 * max(map(len, names), default=0)))


def sample(counts: Iterable[Any], word: str = "seed") -> str:
    """`n = 3 seeds.`, or `n = 1 to 3 seeds.`; empty if no count is known."""
    known = sorted({int(n) for count in counts if (n := number(count)) is not None})
    if not known:
        return ""
    several = f"{known[0]} to {known[-1]}" if len(known) > 1 else f"{known[0]}"
    return f"n = {several} {word}{'' if known[-1] == 1 else 's'}."


def lines(*parts: str) -> str:
    """Text of several lines for `tip`; empty parts are left out."""
    return "\n".join(part for part in parts if part)
