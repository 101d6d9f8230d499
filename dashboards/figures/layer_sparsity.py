"""How much of each layer survives: by block, a panel for each kind of layer, a line for a mask."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style, tried
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.figures.mask_overlap import place_of
from dashboards.text import amount, number, percent

HEADS = {"panel": "Layer", "name": "Mask", "block": "Block", "kept": "Kept, %"}
_INNER, _MARGIN = 250, 70


@dataclass(frozen=True, slots=True)
class Masks:
    """Names of masks, and a row for each of their layers."""

    names: list[str]
    rows: list[dict[str, Any]]
    note: str


def data(summary: dict[str, Any]) -> Masks | None:
    """The layers of every mask, if any was measured."""
    arms, names, rows, places = Arms.of(summary), [], [], []
    for mask in summary.get("layers") or []:
        name = _name(mask, arms)
        found = [row for layer in mask.get("layers") or [] if (row := _row(layer, name))]
        if found and name not in names:
            names.append(name)
            rows += found
            at = tried.short(mask.get("setting") or {})
            others = ", ".join(arms.short(str(arm)) for arm in mask.get("shared") or [])
            also = f" (the mask of {others} too)" if others else ""
            places.append(f"{name}{also}: {at}, {amount(mask.get('n'))} seeds")
    return Masks(names, rows, f"{'; '.join(places)}.") if rows else None


def _name(mask: dict[str, Any], arms: Arms) -> str:
    if mask.get("mask") == "essential":
        return "One-shot, before ISSP"
    return arms.short(str(mask.get("arm")))


def _row(layer: dict[str, Any], name: str) -> dict[str, Any] | None:
    place, kept = place_of(layer.get("layer")), number(layer.get("kept"))
    if place is None or kept is None:
        return None
    panel, block = place
    tip = parts.lines(name, f"Block {block}, {panel}", f"{percent(kept)} kept")
    return {"panel": panel, "name": name, "block": block, "kept": parts.in_percent(kept),
            "tip": tip}  # fmt: skip


def draw(shown: Masks) -> Plot:
    """A panel for each kind of layer."""
    names, order = shown.names, alt.EncodingSortField("order", op="min")
    panels = list(dict.fromkeys(row["panel"] for row in shown.rows))
    rows = [row | {"order": panels.index(row["panel"])} for row in shown.rows]
    base = parts.chart(rows)
    x = parts.x_axis("block", "Block of the model, from the input",
                     parts.span((r["block"] for r in rows), pad=0.03),
                     tickMinStep=1, format="d", grid=False)  # fmt: skip
    y = parts.y_axis("kept", "Weights kept (%)", [0, 102])
    looks = [(style.LEVEL_COLOURS[i % 6], style.LEVEL_SHAPES[i % 6]) for i in range(len(names))]
    colour = parts.coloured(names, [look[0] for look in looks])
    shape = parts.shaped(names, [look[1] for look in looks])
    layers = parts.layered(
        base.mark_line().encode(x=x, y=y, color=colour),
        base.mark_point(size=45).encode(x=x, y=y, color=colour, shape=shape),
        base.mark_point(size=200, opacity=0).encode(x=x, y=y, tooltip=parts.tip()),
    ).properties(width=_INNER, height=190)
    facets = layers.facet(
        facet=alt.Facet("panel", type="nominal", sort=order, title=None), columns=2
    )
    return Plot(
        chart=facets,
        title=finding(shown),
        alt=f"Weights kept in each layer, of {', '.join(names)}.",
        table=DataTable.of(HEADS, rows),
        note=shown.note,
        inner=_INNER,
        columns=2,
        margin=_MARGIN,
    )


def finding(shown: Masks) -> str:
    """Where the last mask, or the only one, keeps least and most."""
    name = shown.names[min(1, len(shown.names) - 1)]
    mine = [row for row in shown.rows if row["name"] == name]
    least, most = (pick(mine, key=lambda row: float(row["kept"])) for pick in (min, max))
    if least["kept"] == most["kept"]:
        return f"{name} keeps {percent(least['kept'] / 100, 0)} of every layer"
    ends = [
        f"{percent(row['kept'] / 100, 0)} of block {row['block']}’s {_lower(row['panel'])}"
        for row in (least, most)
    ]
    return f"{name} keeps between {ends[0]} and {ends[1]}"


def _lower(panel: str) -> str:
    return panel if panel.startswith("MLP") else panel[:1].lower() + panel[1:]


FIGURE = Figure(
    name="layer_sparsity",
    place="overlap",
    caption="Share of each layer’s weights that survives, at the recommended setting or the "
    "nearest that was run; means over seeds.",
    data=data,
    draw=draw,
)
