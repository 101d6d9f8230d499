"""What every arm reaches on test, with its interval."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from dashboards import style
from dashboards.arms import Arms
from dashboards.figure import Figure
from dashboards.text import number, percent

FAR = 0.10  # an arm further below the best is shown by an arrow


@dataclass(frozen=True, slots=True)
class Dots:
    """Rows of the summary's `arms`, the last on top, and the accuracy of the dense model."""

    rows: list[dict[str, Any]]
    dense: float | None
    arms: Arms


def data(summary: dict[str, Any]) -> Dots | None:
    """The arms with a test accuracy, if any."""
    rows = [a for a in summary.get("arms") or [] if number(a.get("test_accuracy_mean")) is not None]
    arms = Arms.of(summary)
    rows = sorted(rows, key=lambda a: arms.rank(str(a["arm"])), reverse=True)
    dense = number((summary.get("dense") or {}).get("test_accuracy"))
    return Dots(rows, dense, arms) if rows else None


def draw(shown: Dots) -> tuple[Axes, str]:
    """Test accuracy of every arm with its interval, beside the dense model."""
    rows, dense, arms = shown.rows, shown.dense, shown.arms
    (axes,) = style.new_figure(1.4 + 0.38 * len(rows))
    means = [float(row["test_accuracy_mean"]) for row in rows]
    best = max(means if dense is None else [*means, dense])
    near = [
        number(r.get("ci_low")) or m for r, m in zip(rows, means, strict=True) if m > best - FAR
    ]
    # An arm far below the others would squeeze them together, so an arrow stands for it.
    far = min(near) - 0.2 * (best - min(near)) - 0.005 if len(near) < len(rows) else None
    for y, row in enumerate(rows):
        _dot(axes, y, row, arms, far)
    if dense is not None:
        axes.axvline(dense, color=style.INK, lw=1.2, ls="--", label=f"Dense {percent(dense)}")
    axes.set_yticks(range(len(rows)), [arms.short(r["arm"]) for r in rows], color=style.INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.08)
    if far is not None:
        axes.set_xlim(left=far)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Test accuracy on the tokens used (%)")
    style.percent_ticks(axes, x=True)
    style.legend_below(axes)
    parts = [f"{arms.label(r['arm'])} {percent(r['test_accuracy_mean'])}" for r in reversed(rows)]
    return axes, f"Mean test accuracy: {'; '.join(parts)}."


def _dot(axes: Axes, y: int, row: dict[str, Any], arms: Arms, far: float | None) -> None:
    """One arm's mean and interval; left of `far` only an arrow with the mean."""
    arm, mean = str(row["arm"]), float(row["test_accuracy_mean"])
    colour = arms.colour(arm)
    if far is not None and mean < far:
        axes.plot([far], [y], color=colour, marker="<", markersize=8, ls="none", clip_on=False)
        axes.annotate(percent(mean), (far, y), (10, 0), textcoords="offset points", va="center")
        return
    low, high = number(row.get("ci_low")), number(row.get("ci_high"))
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=2.4, solid_capstyle="butt")
    axes.plot([mean], [y], color=colour, marker=arms.marker(arm), markersize=8)


FIGURE = Figure(
    name="arms",
    place="arms",
    caption="Mean test accuracy per arm, with its interval where there is one; the dashed line is "
    "the dense model. An arrow stands for an arm that lies further left.",
    data=data,
    draw=draw,
)
