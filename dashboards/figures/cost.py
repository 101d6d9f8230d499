"""What a sweep took: time per stage, and training speed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dashboards import frames, style
from dashboards.figure import Figure
from dashboards.text import amount, duration, time_unit


@dataclass(frozen=True, slots=True)
class Cost:
    """The tables of `frames.stages` and `frames.rates`; one may be empty."""

    stages: pd.DataFrame
    rates: pd.DataFrame


def data(summary: dict[str, Any]) -> Cost | None:
    """Times and rates, if there are any."""
    cost = Cost(frames.stages(summary), frames.rates(summary))
    return cost if len(cost.stages) or len(cost.rates) else None


def draw(shown: Cost) -> tuple[Axes, str]:
    """Time per stage as recorded per trial, and training speed by patch drop."""
    stages, throughput = shown.stages, shown.rates
    has_stages, has_rate = bool(len(stages)), bool(len(throughput))
    heights = [1.0 + 0.3 * len(stages)] * has_stages + [2.6] * has_rate
    panels = style.new_figure(*heights, sharex=False)
    parts = []
    if has_stages:
        _stage_bars(panels[0], stages)
        parts.append(f"most time in {stages['stage'].iloc[0]}")
    if has_rate:
        _rate_line(panels[-1], throughput)
        rate = amount(throughput["mean"].iloc[0])
        parts.append(f"{rate} training images/s at the lowest patch drop")
    return panels[0], f"Cost: {'; '.join(parts)}."


def _stage_bars(axes: Axes, stages: pd.DataFrame) -> None:
    """A bar per stage, in the unit that suits the longest."""
    table = stages.iloc[::-1]
    unit, size = time_unit(float(table["total_s"].max()))
    bars = axes.barh(table["stage"].str[:28], table["total_s"] / size, color=style.BAND, height=0.6)
    axes.bar_label(bars, [duration(s) for s in table["total_s"]], padding=4, fontsize=11)
    axes.margins(x=0.2)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"Sum as recorded per trial ({unit})")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(axis="y", labelcolor=style.INK)


def _rate_line(axes: Axes, throughput: pd.DataFrame) -> None:
    """Images per second by patch drop; bars from the lowest to the highest trial."""
    drop, mean = throughput["patch_drop"], throughput["mean"]
    # The mean of equal values may differ from them by rounding.
    spread = np.array([mean - throughput["low"], throughput["high"] - mean]).clip(min=0)
    axes.errorbar(drop, mean, yerr=spread, color=style.BAND, marker="o", capsize=3)
    axes.set_ylim(bottom=0, top=float(throughput["high"].max()) * 1.15 or 1)
    axes.set_xlabel("Patches dropped (%)")
    axes.set_ylabel("Training images/s")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    style.percent_ticks(axes, x=True)


FIGURE = Figure(
    name="cost",
    place="cost",
    caption="Time per stage, and training speed by patch drop (bars: lowest to highest trial).",
    data=data,
    draw=draw,
)
