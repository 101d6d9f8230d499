"""What each single change to an anchor of the diagnosis does."""

from typing import Any

from matplotlib.axes import Axes

from dashboards import style
from dashboards.diagnosis import by_anchor, change, told_apart
from dashboards.figure import Figure
from dashboards.text import clean, number, plural, points

MOST_EFFECTS = 14  # changes of one anchor that fit into a panel

Groups = list[tuple[dict[str, Any], list[dict[str, Any]]]]
"""Anchors and the changes around each, the largest effect first."""


def data(summary: dict[str, Any]) -> Groups | None:
    """The anchors with the largest effects around each, if any."""
    groups = by_anchor(summary.get("diagnosis") or {})
    return [(anchor, rows[:MOST_EFFECTS]) for anchor, rows in groups] or None


def draw(groups: Groups) -> tuple[Axes, str]:
    """What each single change does to the accuracy, a panel per anchor."""
    panels = style.new_figure(*(1.0 + 0.34 * len(rows) for _, rows in groups))
    for axes, (anchor, rows) in zip(panels, groups, strict=True):
        _effect_panel(axes, rows)
        title = clean(f"Changes to {anchor.get('name')}", 60)
        axes.set_title(title, loc="left", fontweight="bold", x=-0.65, fontsize=11)
    panels[0].set_xlim(*_reach([row for _, rows in groups for row in rows]))
    panels[-1].set_xlabel("Effect on accuracy (points)")
    look: dict[str, Any] = {"ls": "none", "color": style.BAND}
    panels[0].plot([], [], marker="o", label="Right after pruning", **look)
    panels[0].plot([], [], marker="s", label="After fine-tuning", ls="none", color="#d55e00")
    style.legend_below(panels[0])
    best = groups[0][1][0]
    effect = best.get("effect_pruned")
    effect = best.get("effect_final") if effect is None else effect
    alt = (
        f"Effect of {plural(sum(len(rows) for _, rows in groups), 'single change')} on accuracy, "
        f"largest first; the largest is {change(best, 200)} with {points(effect)} points."
    )
    return panels[0], alt


def _bar(
    axes: Axes,
    y: float,
    values: tuple[float | None, float | None, float | None],
    **look: Any,
) -> None:
    """A mean and its interval, if there are any."""
    mean, low, high = values
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=look["color"], lw=2.0, zorder=3, solid_capstyle="butt")
    if mean is not None:
        axes.plot([mean], [y], ls="none", zorder=4, **look)


def _three(row: dict[str, Any], mean: str, low: str, high: str) -> Any:
    return tuple(number(row.get(field)) for field in (mean, low, high))


def _effect_panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """One anchor: the largest effect on top."""
    for y, row in enumerate(reversed(rows)):
        colour = style.BAND if told_apart(row) else style.MUTED
        first = _three(row, "effect_pruned", "low", "high")
        last = _three(row, "effect_final", "final_low", "final_high")
        _bar(axes, y + 0.14, first, color=colour, marker="o", markersize=7)
        _bar(axes, y - 0.2, last, color="#d55e00", marker="s", markersize=4.5)
    labels = [change(row) for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels, color=style.INK, fontsize=10.5)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axvline(0, color=style.INK, lw=1.2, ls="--")
    axes.grid(axis="y", visible=False)
    style.percent_ticks(axes, x=True)


def _reach(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """The range of the means and half as much on either side; wide intervals are cut off."""
    fields = ("effect_pruned", "effect_final")
    means = [0.0, *(x for r in rows for n in fields if (x := number(r.get(n))) is not None)]
    pad = max(0.01, 0.5 * (max(means) - min(means)))
    return min(means) - pad, max(means) + pad


FIGURE = Figure(
    name="diagnosis_effects",
    place="diagnosis",
    caption="What each single change does, largest first; grey: cannot be told from zero right "
    "after pruning. An interval may go on beyond the edge.",
    data=data,
    draw=draw,
)
