"""How much masks overlap: the Jaccard index by block, a line for each kind of layer."""

import re
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dashboards import style
from dashboards.contrasts import KINDS, share
from dashboards.figure import Figure
from dashboards.text import number

_LAYER = re.compile(r"blocks\.(\d+)\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.weight")
_SHORT = {
    "attn.qkv": "Attention: q, k, v",
    "attn.proj": "Attention: projection",
    "mlp.fc1": "MLP: first",
    "mlp.fc2": "MLP: second",
}


def data(summary: dict[str, Any]) -> pd.DataFrame | None:
    """The layers' overlap, if any was measured."""
    table = layer_table(summary)
    return None if table.empty else table


def draw(table: pd.DataFrame) -> tuple[Axes, str]:
    """One panel for each thing that differs between the masks of a pair."""
    shown = [k for k in KINDS if (table["varies"] == k).any()]
    panels = style.new_figure(*[2.4] * len(shown))
    for axes, varies in zip(panels, shown, strict=True):
        _panel(axes, table[table["varies"] == varies])
        axes.set_title(f"Between {KINDS[varies].lower()}", loc="left", fontweight="bold")
        axes.set_ylabel("Jaccard index")
    panels[-1].set_xlabel("Block of the model, from the input")
    style.legend_below(panels[0])
    values = {kind: table.loc[table["varies"] == kind, "jaccard"] for kind in shown}
    ranges = [
        f"between {KINDS[kind].lower()} from {share(jaccard.min())} to {share(jaccard.max())}"
        for kind, jaccard in values.items()
    ]
    alt = f"Overlap of the kept weights, layer by layer: {'; '.join(ranges)}."
    return panels[0], alt


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


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for i, kind in enumerate(_SHORT):
        rows = table[table["kind"] == kind]
        colour, marker = style.LEVEL_COLOURS[i], style.LEVEL_MARKERS[i]
        if len(rows):
            axes.plot(
                rows["block"], rows["jaccard"], color=colour, marker=marker, label=_SHORT[kind]
            )
            axes.plot(rows["block"], rows["random"], color=colour, ls=":", lw=1.2)
    axes.plot([], [], color=style.MUTED, ls=":", lw=1.2, label="Random masks")
    axes.set_ylim(0, 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=13, min_n_ticks=1))


FIGURE = Figure(
    name="mask_overlap",
    place="overlap",
    caption="Mean overlap of the masks, layer by layer; dotted: random masks of each layer’s "
    "densities.",
    data=data,
    draw=draw,
)
