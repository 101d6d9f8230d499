"""What a sweep took: device-hours, time per stage, and training speed."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from dashboards import frames, parts, style
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, clean, duration, level, number, time_unit

_PREDICTED, _USED, _ALONE = "Predicted at the start", "Used", "Without sharing"
HEADS = {"what": "What", "name": "Name", "value": "Value", "unit": "Unit", "n": "n"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Hours predicted, used and saved, and the tables of `frames.stages` and `frames.rates`."""

    hours: list[tuple[str, float]]
    stages: pd.DataFrame
    rates: pd.DataFrame


def data(summary: dict[str, Any]) -> Cost | None:
    """Times and rates, if there are any."""
    cost = Cost(_hours(summary.get("cost") or {}), frames.stages(summary), frames.rates(summary))
    return cost if len(cost.stages) or len(cost.rates) else None


def draw(shown: Cost) -> Plot:
    """Device-hours, time per stage as recorded per trial, and training speed by patch drop."""
    panels: list[Any] = []
    rows: list[dict[str, Any]] = []
    said = []
    if shown.hours:
        hours = [_bar("Device time", name, 3600 * h, None) for name, h in shown.hours]
        panels.append(_bars(hours, "Device time", f"Device time ({_unit(hours)})", style.GREEN))
        rows += hours
    if len(shown.stages):
        stages = [_bar("Time per stage", clean(r["stage"], 28), r["total_s"], r["n"])
                  for r in shown.stages.to_dict("records")]  # fmt: skip
        title = f"Sum as recorded per trial ({_unit(stages)})"
        panels.append(_bars(stages, "Time per stage", title, style.BAND))
        rows += stages
        said.append(f"most time in {shown.stages['stage'].iloc[0]}")
    if len(shown.rates):
        rates = [_rate(r) for r in shown.rates.to_dict("records")]
        panels.append(_rate_line(rates))
        rows += rates
        rate = amount(shown.rates["mean"].iloc[0])
        said.append(f"{rate} training images/s at the lowest patch drop")
    return Plot(
        chart=alt.vconcat(*panels, spacing=24),
        title=finding(shown),
        alt=f"Cost: {'; '.join(said)}.",
        table=DataTable.of(HEADS, rows),
        margin=parts.label_margin(row["name"] for row in rows if row["what"] != "Training speed"),
    )


def finding(shown: Cost) -> str:
    """What sharing stages saved, or else where the time went."""
    hours = {name: duration(3600 * h) for name, h in shown.hours}
    if _ALONE in hours:
        took = f"The sweep took {hours[_USED]} of device time; without shared stages"
        return f"{took} it would be {hours[_ALONE]}"
    if _PREDICTED in hours:
        return f"The sweep took {hours[_USED]} of device time, predicted were {hours[_PREDICTED]}"
    if len(shown.stages):
        total = float(shown.stages["total_s"].sum())
        first = shown.stages.iloc[0]
        part = f"{100 * first['total_s'] / total:.0f}\u00a0%" if total else "all"
        return f"{clean(first['stage'], 28)} took {part} of the recorded time"
    return "Training speed by the share of patches dropped"


def _hours(cost: dict[str, Any]) -> list[tuple[str, float]]:
    used, saved = number(cost.get("device_hours")), number(cost.get("device_hours_saved"))
    predicted = number(cost.get("device_hours_predicted"))
    if not used:
        return []
    found = [(_PREDICTED, predicted), (_USED, used), (_ALONE, used + saved if saved else None)]
    return [(name, hours) for name, hours in found if hours]


def _bar(what: str, name: str, seconds: float, n: Any) -> dict[str, Any]:
    tip = parts.lines(name, duration(seconds), f"{amount(n)} trials" if n is not None else "")
    return {"what": what, "name": name, "value": seconds, "unit": "s", "n": n,
            "label": duration(seconds), "tip": tip}  # fmt: skip


def _unit(bars: list[dict[str, Any]]) -> str:
    return time_unit(max(bar["value"] for bar in bars))[0]


def _bars(rows: list[dict[str, Any]], title: str, axis: str, colour: str) -> alt.LayerChart:
    """A bar for each row, in the unit that suits the longest; adds `length` to the rows."""
    size = time_unit(max(row["value"] for row in rows))[1]
    drawn = [row | {"length": row["value"] / size} for row in rows]
    longest = max(row["length"] for row in drawn)
    x = parts.x_axis("length", axis, [0, 1.16 * longest or 1])
    base = parts.chart(drawn).encode(x=x, y=parts.names_axis([row["name"] for row in rows]))
    text = base.mark_text(align="left", dx=5)
    return parts.layered(
        base.mark_bar(color=colour, height=15).encode(tooltip=parts.tip()),
        text.encode(text=alt.Text("label", type="nominal")),
    ).properties(width=style.WIDTH, height=alt.Step(24), title=title)


def _rate(row: dict[Any, Any]) -> dict[str, Any]:
    tip = parts.lines(
        f"{level(row['patch_drop'])} of the patches dropped",
        f"{amount(row['mean'])} images/s, trials {amount(row['low'])} to {amount(row['high'])}",
        f"{amount(row['n'])} trials",
    )
    return {"what": "Training speed", "name": f"{level(row['patch_drop'])} dropped",
            "value": round(row["mean"], 2), "unit": "images/s", "n": row["n"], "tip": tip,
            "drop": parts.in_percent(row["patch_drop"]), "low": row["low"],
            "high": row["high"]}  # fmt: skip


def _rate_line(rows: list[dict[str, Any]]) -> alt.LayerChart:
    """Images per second by patch drop; bars from the lowest to the highest trial."""
    drops = sorted({row["drop"] for row in rows})
    x = parts.x_axis("drop", "Patches dropped (%)", parts.span(drops, pad=0.04), grid=False,
                     values=drops)  # fmt: skip
    y = parts.y_axis("value", "Images/s", [0, 1.12 * max(row["high"] for row in rows) or 1])
    base = parts.chart(rows).encode(x=x)
    low, high = alt.Y("low", type="quantitative"), alt.Y2("high")
    return parts.layered(
        base.mark_rule(color=style.BAND, strokeWidth=1.4).encode(y=low, y2=high),
        base.mark_line(color=style.BAND).encode(y=y),
        base.mark_point(color=style.BAND).encode(y=y),
        parts.hover(base.encode(y=y)),
    ).properties(width=style.WIDTH, height=170, title="Training speed by patch drop")


FIGURE = Figure(
    name="cost",
    place="cost",
    caption="Time, and training speed by patch drop (bars: lowest to highest trial).",
    data=data,
    draw=draw,
)
