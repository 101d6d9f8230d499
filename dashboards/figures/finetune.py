"""Learning curves of the recovery, a small picture for each arm."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from dashboards import frames, parts, style
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, percent, points

NEAR_DENSE = 0.01  # LOTUS and ES call one point below dense "near"
WINDOW = 0.06  # below the best, of what is drawn: a point stays visible
COLUMNS = 3
_INNER, _HEIGHT, _MARGIN = 170, 130, 100

HEADS = {
    "name": "Arm",
    "epoch": "Epoch",
    "mean": "Val. accuracy (%)",
    "low": "Lowest seed",
    "high": "Highest seed",
    "n": "Seeds",
}


@dataclass(frozen=True, slots=True)
class Lines:
    """A table per arm (epoch, mean, low, high, n), and the accuracy of the dense model."""

    by_arm: dict[str, pd.DataFrame]
    dense: float | None
    arms: Arms


def data(summary: dict[str, Any]) -> Lines | None:
    """The learning curves, if there are any."""
    by_arm = frames.finetuning(summary)
    return Lines(by_arm, frames.dense_before(summary), Arms.of(summary)) if by_arm else None


def draw(shown: Lines) -> Plot:
    """Validation accuracy per fine-tuning epoch: mean and range over seeds, beside dense."""
    names = shown.arms.names(list(shown.by_arm))
    rows = [row for arm in shown.by_arm for row in _rows(shown, arm, names[arm])]
    window = accuracy_range(shown)
    ends = [_end(shown, arm, names[arm], window) for arm in shown.by_arm]
    panel = parts.layered(*_layers([*rows, *(end for end in ends if end)], shown, names, window))
    order = alt.EncodingSortField("order", op="min")
    facets = panel.properties(width=_INNER, height=_HEIGHT).facet(
        facet=alt.Facet("name", type="nominal", sort=order, title=None), columns=COLUMNS
    )
    said = [f"{names[a]} {percent(t['mean'].iloc[-1])}" for a, t in shown.by_arm.items()]
    return Plot(
        chart=facets,
        title=finding(shown),
        alt=f"Validation accuracy by epoch. At the last epoch: {'; '.join(said)}.",
        table=DataTable.of(HEADS, rows),
        note=parts.sample(row["n"] for row in rows),
        inner=_INNER,
        columns=COLUMNS,
        margin=_MARGIN,
    )


def finding(shown: Lines) -> str:
    """Where the whole method ends, or else the best arm."""
    arms, ends = shown.arms, {a: float(t["mean"].iloc[-1]) for a, t in shown.by_arm.items()}
    arm = next((a for a in ends if arms.on_top(a)), max(ends, key=lambda a: ends[a]))
    epochs = amount(shown.by_arm[arm]["epoch"].iloc[-1])
    text = f"{arms.short(arm)} ends at {percent(ends[arm])} after {epochs} epochs"
    if epochs == "1":
        text = text.removesuffix("s")
    if shown.dense is None:
        return text
    gap = ends[arm] - shown.dense
    side = "above" if gap > 0 else "below"
    return f"{text}, {points(gap).lstrip('+−')} points {side} dense before fine-tuning"


def accuracy_range(shown: Lines) -> list[float]:
    """The range of accuracies that is drawn, in percent: all, or what is near the best."""
    tables = list(shown.by_arm.values())
    tops = [float(t["high"].max()) for t in tables] + ([shown.dense] if shown.dense else [])
    bottom = max(min(float(t["low"].min()) for t in tables), max(tops) - WINDOW)
    low, high = parts.span([100 * bottom, 100 * max(tops)], least=2.0)
    return [low, high]


def _rows(shown: Lines, arm: str, name: str) -> list[dict[str, Any]]:
    """A row per epoch; the first also carries what the panel's dense lines need."""
    rows = []
    for i, line in enumerate(shown.by_arm[arm].to_dict("records")):
        spread = f"seeds {percent(line['low'])} to {percent(line['high'])}"
        tip = parts.lines(
            name, f"Epoch {amount(line['epoch'])}", percent(line["mean"]),
            f"{amount(line.get('n'))} {spread}",
        )  # fmt: skip
        row = {"name": name, "order": shown.arms.rank(arm)[0], "epoch": line["epoch"], "tip": tip}
        row |= {f: parts.in_percent(line[f]) for f in ("mean", "low", "high")}
        row |= {"n": line.get("n"), "label": ""}
        if i == 0 and shown.dense is not None:
            dense = parts.in_percent(shown.dense)
            row |= {"dense": dense, "near": parts.in_percent(shown.dense - NEAR_DENSE)}
        rows.append(row)
    return rows


def _end(shown: Lines, arm: str, name: str, window: list[float]) -> dict[str, Any] | None:
    """What a panel says of an arm that ends below what is drawn."""
    last = float(shown.by_arm[arm]["mean"].iloc[-1])
    if 100 * last >= window[0]:
        return None
    label = f"▼ ends at {percent(last)}"
    return {"name": name, "order": shown.arms.rank(arm)[0], "label": label}


def _layers(
    rows: list[dict[str, Any]], shown: Lines, names: dict[str, str], window: list[float]
) -> list[Any]:
    base = parts.chart(rows)
    epochs = [row["epoch"] for row in rows if row.get("epoch") is not None]
    x = parts.x_axis("epoch", "Fine-tuning epoch", [min(epochs) - 0.3, max(epochs) + 0.3],
                     tickMinStep=1, format="d", grid=False, tickCount=5)  # fmt: skip
    y = parts.y_axis("mean", "Val. accuracy (%)", window, tickCount=4)
    low, high = alt.Y("low", type="quantitative"), alt.Y2("high")
    arms = list(names)
    colour = parts.coloured([*names.values()], [shown.arms.colour(a) for a in arms], legend=False)
    dash = parts.dashed([*names.values()], [shown.arms.line(a) for a in arms])
    shape = parts.shaped([*names.values()], [shown.arms.marker(a) for a in arms], legend=False)
    rule = base.mark_rule(color=style.INK, strokeWidth=1.1, clip=True)
    text = base.mark_text(align="right", baseline="bottom", dx=-4, dy=-4, fontSize=11.5)
    return [
        base.mark_area(opacity=0.22, clip=True).encode(x=x, y=low, y2=high, color=colour),
        rule.encode(y=alt.Y("dense", type="quantitative"), strokeDash=alt.value(style.DASHED)),
        rule.encode(y=alt.Y("near", type="quantitative"), strokeDash=alt.value(style.DOTTED)),
        base.mark_line(clip=True).encode(x=x, y=y, color=colour, strokeDash=dash),
        base.mark_point(clip=True, size=38).encode(x=x, y=y, color=colour, shape=shape),
        text.encode(x=parts.X_PIXEL("width"), y=parts.Y_PIXEL("height"), text="label:N"),
        base.mark_point(size=200, opacity=0, clip=True).encode(x=x, y=y, tooltip=parts.tip()),
    ]


FIGURE = Figure(
    name="finetune",
    place="finetune",
    caption="Validation accuracy by fine-tuning epoch [LOTUS, figure 4]: mean over seeds, shaded "
    "from the lowest to the highest. Dashed: the dense model before fine-tuning; dotted: one "
    "point below. Lines of controls are dashed.",
    data=data,
    draw=draw,
)
