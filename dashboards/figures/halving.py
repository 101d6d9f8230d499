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
    """The candidates of the summary's halving, the furthest first."""

    rows: list[dict[str, Any]]
    arms: Arms


def data(summary: dict[str, Any]) -> Candidates | None:
    """The candidates that were stopped at least once, if any."""
    candidates = (summary.get("halving") or {}).get("candidates") or []
    rows = [candidate for candidate in candidates if candidate.get("curve")]
    return Candidates(rows, Arms.of(summary)) if rows else None


def draw(shown: Candidates) -> tuple[Axes, str]:
    """Validation accuracy of every candidate at the rungs it reached; winners are highlighted."""
    candidates, arms = shown.rows, shown.arms
    (axes,) = style.new_figure(3.6)
    for candidate in reversed(candidates):
        x, y = zip(*candidate["curve"], strict=True)
        won = bool(candidate.get("won"))
        colour = style.BAND if won else style.MUTED
        axes.plot(x, y, "o-", color=colour, lw=2.2 if won else 0.9, alpha=1 if won else 0.6,
                  zorder=3 if won else 2)  # fmt: skip
    axes.plot([], [], "o-", color=style.BAND, lw=2.2, label="Run in full")
    axes.plot([], [], "o-", color=style.MUTED, lw=0.9, alpha=0.6, label="Stopped")
    axes.set_xticks(
        sorted({int(epochs) for candidate in candidates for epochs, _ in candidate["curve"]})
    )
    axes.set_xlabel("Fine-tuning epochs at the stop")
    axes.set_ylabel("Validation accuracy (%)")
    style.percent_ticks(axes, y=True)
    style.legend_below(axes)
    winners = [c for c in candidates if c.get("won")]
    winner_words = "; ".join(
        f"{arms.label(w['arm'])} at {level((w.get('setting') or {}).get('sparsity'))} sparsity"
        for w in winners
    )
    alt = (
        f"{plural(len(candidates), 'candidate')} of a halving; run in full: "
        f"{winner_words or 'none yet'}."
    )
    return axes, alt


FIGURE = Figure(
    name="halving",
    place="halving",
    caption="Candidates at the stops that they reached.",
    data=data,
    draw=draw,
)
