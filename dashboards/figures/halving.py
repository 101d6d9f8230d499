"""How far each candidate of a halving came."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from dashboards import style
from dashboards.arms import Arms
from dashboards.figure import Figure
from dashboards.text import level, plural


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of the summary's halving, the furthest first."""

    rows: list[dict[str, Any]]
    arms: Arms


def data(summary: dict[str, Any]) -> Candidates | None:
    """The candidates that were stopped at least once, if any."""
    known = (summary.get("halving") or {}).get("candidates") or []
    rows = [candidate for candidate in known if candidate.get("curve")]
    return Candidates(rows, Arms.of(summary)) if rows else None


def draw(shown: Candidates) -> tuple[Axes, str]:
    """Validation accuracy of every candidate at the rungs that it reached; winners stand out."""
    found, arms = shown.rows, shown.arms
    (axes,) = style.new_figure(3.6)
    for one in reversed(found):
        x, y = zip(*one["curve"], strict=True)
        won = bool(one.get("won"))
        colour = style.BAND if won else style.MUTED
        axes.plot(x, y, "o-", color=colour, lw=2.2 if won else 0.9, alpha=1 if won else 0.6,
                  zorder=3 if won else 2)  # fmt: skip
    axes.plot([], [], "o-", color=style.BAND, lw=2.2, label="Run in full")
    axes.plot([], [], "o-", color=style.MUTED, lw=0.9, alpha=0.6, label="Stopped")
    axes.set_xticks(sorted({int(epochs) for one in found for epochs, _ in one["curve"]}))
    axes.set_xlabel("Fine-tuning epochs at the stop")
    axes.set_ylabel("Validation accuracy (%)")
    style.percent_ticks(axes, y=True)
    style.legend_below(axes)
    winners = [c for c in found if c.get("won")]
    said = "; ".join(
        f"{arms.label(w['arm'])} at {level((w.get('setting') or {}).get('sparsity'))} sparsity"
        for w in winners
    )
    alt = f"{plural(len(found), 'candidate')} of a halving; run in full: {said or 'none yet'}."
    return axes, alt


FIGURE = Figure(
    name="halving",
    place="halving",
    caption="Candidates at the stops that they reached.",
    data=data,
    draw=draw,
)
