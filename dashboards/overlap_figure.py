"""The figure of mask overlap: Jaccard index by block, one line per kind of layer."""

import re
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dashboards import style
from dashboards.contrasts import KINDS, share
from dashboards.style import Drawing
from dashboards.text import number

_LAYER = re.compile(r"blocks\.(\d+)\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.weight")
_SHORT = {
    "attn.qkv": "Attention: q, k, v",
    "attn.proj": "Attention: projection",
    "mlp.fc1": "MLP: first",
    "mlp.fc2": "MLP: second",
}


def layer_table(summary: dict[str, Any]) -> pd.DataFrame:
    """The layers' overlap, long: varies, kind (of layer), block (int), jaccard, random.

    Layers that are not a Linear of a block are left out, and so is what is not measured.
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


def mask_overlap(summary: dict[str, Any]) -> Drawing | None:
    """One panel for each thing that differs between the masks of a pair; None without layers."""
    table = layer_table(summary)
    if table.empty:
        return None
    shown = [k for k in KINDS if (table["varies"] == k).any()]
    panels = style.new_figure(*[2.4] * len(shown))
    for axes, varies in zip(panels, shown, strict=True):
        _panel(axes, table[table["varies"] == varies])
        axes.set_title(f"Between {KINDS[varies].lower()}", loc="left", fontweight="bold")
        axes.set_ylabel("Jaccard index")
    panels[-1].set_xlabel("Block of the model, from the input")
    style.legend_below(panels[0])
    values = {kind: table.loc[table["varies"] == kind, "jaccard"] for kind in shown}
    said = [
        f"between {KINDS[kind].lower()} from {share(found.min())} to {share(found.max())}"
        for kind, found in values.items()
    ]
    alt = f"Overlap of the kept weights, layer by layer: {'; '.join(said)}."
    return Drawing("mask_overlap", style.to_png(panels[0]), alt)


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
