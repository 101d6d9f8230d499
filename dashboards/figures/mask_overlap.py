"""How much masks overlap: the Jaccard index by block, a line for each kind of layer."""

import re
from typing import Any

import altair as alt
import pandas as pd

from dashboards import parts, style
from dashboards.contrasts import KINDS, share
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import number

_LAYER = re.compile(r"blocks\.(\d+)\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.weight")
_SHORT = {
    "attn.qkv": "Attention: q, k, v",
    "attn.proj": "Attention: projection",
    "mlp.fc1": "MLP: first",
    "mlp.fc2": "MLP: second",
}
HEADS = {
    "panel": "Masks that differ by",
    "name": "Layer",
    "block": "Block",
    "jaccard": "Jaccard index",
    "random": "Random masks",
}
_INNER, _MARGIN = 250, 70


def data(summary: dict[str, Any]) -> pd.DataFrame | None:
    """The layers' overlap, if any was measured."""
    table = layer_table(summary)
    return None if table.empty else table


def draw(table: pd.DataFrame) -> Plot:
    """One panel for each thing that differs between the masks of a pair."""
    kinds = [k for k in KINDS if (table["varies"] == k).any()]
    rows = [_row(row) for k in kinds for row in table[table["varies"] == k].to_dict("records")]
    values = {kind: table.loc[table["varies"] == kind, "jaccard"] for kind in kinds}
    ranges = [
        f"between {KINDS[kind].lower()} from {share(jaccard.min())} to {share(jaccard.max())}"
        for kind, jaccard in values.items()
    ]
    order = alt.EncodingSortField("order", op="min")
    facets = _panel(rows).facet(
        facet=alt.Facet("panel", type="nominal", sort=order, title=None), columns=2
    )
    return Plot(
        chart=facets,
        title=finding(table, kinds),
        alt=f"Overlap of the kept weights, layer by layer: {'; '.join(ranges)}.",
        table=DataTable.of(HEADS, rows),
        inner=_INNER,
        columns=2,
        margin=_MARGIN,
    )


def finding(table: pd.DataFrame, kinds: list[str]) -> str:
    """What the masks have in common in the middle, beside random ones."""
    rows = table[table["varies"] == kinds[0]]
    text = (
        f"Masks of different {KINDS[kinds[0]].lower()} share {rows['jaccard'].median():.0%} of "
        "their weights in the median layer"
    ).replace("%", "\u00a0%")
    random = rows["random"].median()
    if pd.isna(random):
        return text
    return f"{text}, random ones {100 * random:.0f}\u00a0%"


def place_of(layer: Any) -> tuple[str, int] | None:
    """Kind of layer and number of the block, of a Linear of a block; None for others."""
    place = _LAYER.fullmatch(str(layer))
    return (_SHORT[place[2]], int(place[1])) if place else None


def layer_table(summary: dict[str, Any]) -> pd.DataFrame:
    """The layers' overlap as a long table: varies, kind (of layer), block (int), jaccard, random.

    Contains only measured layers that are Linears of a block.
    """
    rows = []
    for row in (summary.get("overlap") or {}).get("layers") or []:
        if place := _LAYER.fullmatch(str(row.get("layer"))):
            for varies in KINDS:
                if (jaccard := number(row.get(varies))) is not None:
                    random = number(row.get("random"))
                    rows.append((varies, place[2], int(place[1]), jaccard, random))
    columns = ["varies", "kind", "block", "jaccard", "random"]
    return pd.DataFrame(rows, columns=columns).sort_values("block", kind="stable")


def _row(row: dict[Any, Any]) -> dict[str, Any]:
    panel, name = f"Between {KINDS[row['varies']].lower()}", _SHORT[row["kind"]]
    tip = parts.lines(f"Block {row['block']}, {name}", f"Jaccard {share(row['jaccard'])}",
                      f"Random masks {share(row['random'])}")  # fmt: skip
    return {"panel": panel, "order": list(KINDS).index(row["varies"]), "name": name,
            "block": row["block"], "jaccard": round(row["jaccard"], 4),
            "random": number(row["random"]), "tip": tip}  # fmt: skip


def _panel(rows: list[dict[str, Any]]) -> alt.LayerChart:
    base = parts.chart(rows)
    names = list(_SHORT.values())
    x = parts.x_axis("block", "Block of the model, from the input",
                     parts.span((r["block"] for r in rows), pad=0.03),
                     tickMinStep=1, format="d", grid=False)  # fmt: skip
    y = parts.y_axis("jaccard", "Jaccard index", [0, 1.02])
    colour = parts.coloured(names, style.LEVEL_COLOURS[: len(names)])
    shape = parts.shaped(names, style.LEVEL_SHAPES[: len(names)])
    random = base.mark_line(strokeDash=style.DOTTED, strokeWidth=1.4)
    return parts.layered(
        random.encode(x=x, y=alt.Y("random", type="quantitative"), color=colour),
        base.mark_line().encode(x=x, y=y, color=colour),
        base.mark_point(size=45).encode(x=x, y=y, color=colour, shape=shape),
        base.mark_point(size=200, opacity=0).encode(x=x, y=y, tooltip=parts.tip()),
    ).properties(width=_INNER, height=210)


FIGURE = Figure(
    name="mask_overlap",
    place="overlap",
    caption="Mean overlap of the masks, layer by layer; dotted: random masks of each layer’s "
    "densities.",
    data=data,
    draw=draw,
)
