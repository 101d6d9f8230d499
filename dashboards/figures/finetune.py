"""Learning curves of the recovery, a line for each arm."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dashboards import frames, style
from dashboards.arms import Arms
from dashboards.figure import Figure
from dashboards.text import percent

NEAR_DENSE = 0.01  # LOTUS and ES call one point below dense "near"
FAR = 0.10  # an arm further below the best needs a scale of its own


@dataclass(frozen=True, slots=True)
class Lines:
    """A table per arm (epoch, mean, low, high), and the accuracy of the dense model."""

    by_arm: dict[str, pd.DataFrame]
    dense: float | None
    arms: Arms


def data(summary: dict[str, Any]) -> Lines | None:
    """The learning curves, if there are any."""
    by_arm = frames.finetuning(summary)
    return Lines(by_arm, frames.dense_before(summary), Arms.of(summary)) if by_arm else None


def draw(shown: Lines) -> tuple[Axes, str]:
    """Validation accuracy per fine-tuning epoch, one line per arm, spread over seeds."""
    by_arm = shown.by_arm
    legend_in = 0.12 * (len(by_arm) + 3)
    close = close_range(by_arm, shown.dense)
    panels = style.new_figure(*([2.6, 2.6 + legend_in] if close else [3.3 + legend_in]))
    for axes in panels:
        _lines(axes, shown)
        axes.set_ylabel("Val. accuracy (%)" if close else "Validation accuracy (%)")
    if close:
        panels[0].set_title("Full range", loc="left", fontweight="bold")
        panels[1].set_title("Close to dense", loc="left", fontweight="bold")
        panels[1].set_ylim(*close)
    panels[-1].set_xlabel("Fine-tuning epoch")
    style.legend_below(panels[0])
    ends = [f"{shown.arms.label(arm)} {percent(t['mean'].iloc[-1])}" for arm, t in by_arm.items()]
    alt = f"Validation accuracy by epoch. At the last epoch: {'; '.join(ends)}."
    return panels[0], alt


def close_range(by_arm: dict[str, pd.DataFrame], dense: float | None) -> tuple[float, float] | None:
    """The range (low, high) of a second, closer panel; None if one panel is enough.

    A control that collapses, or an arm that starts low, would squeeze the curves near dense into
    one line.
    """
    tops = [float(t["high"].max()) for t in by_arm.values()] + ([] if dense is None else [dense])
    ends = [float(t["low"].iloc[-1]) for t in by_arm.values()]
    top = max(tops)
    near = [end for end in ends if end > top - FAR]
    bottom = min([*near, top - 2 * NEAR_DENSE])
    lowest = min(float(t["low"].min()) for t in by_arm.values())
    if not near or top - lowest < 3 * (top - bottom):
        return None
    pad = 0.1 * (top - bottom)
    return bottom - pad, top + pad


def _lines(axes: Axes, shown: Lines) -> None:
    arms, dense = shown.arms, shown.dense
    for arm, table in shown.by_arm.items():
        colour = arms.colour(arm)
        epoch = table["epoch"]
        axes.fill_between(epoch, table["low"], table["high"], color=colour, alpha=0.15, lw=0)
        axes.plot(
            epoch,
            table["mean"],
            color=colour,
            marker=arms.marker(arm),
            ls=arms.line(arm),
            zorder=4 if arms.on_top(arm) else 3,
            label=arms.short(arm),
        )
    if dense is not None:
        axes.axhline(dense, color=style.INK, lw=1.2, ls="--", label="Dense model")
        axes.axhline(dense - NEAR_DENSE, color=style.INK, lw=1.2, ls=":", label="Dense − 1 point")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    style.percent_ticks(axes, y=True)


FIGURE = Figure(
    name="finetune",
    place="finetune",
    caption="Validation accuracy by fine-tuning epoch [LOTUS, figure 4].",
    data=data,
    draw=draw,
)
