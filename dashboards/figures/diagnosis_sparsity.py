"""Accuracy right after pruning against what was removed."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.arms import Arms
from dashboards.diagnosis import change
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, clean, level, number, percent, plural

HEADS = {
    "kind": "Kind",
    "label": "Setting",
    "sparsity": "Sparsity reached (%)",
    "accuracy": "Val. accuracy, just pruned (%)",
    "n": "Seeds",
}
_ANCHOR, _CHANGE = "ISSP, anchor", "ISSP, one thing changed"


@dataclass(frozen=True, slots=True)
class Masks:
    """Anchors and changes with an accuracy, and their diagnosis."""

    rows: list[dict[str, Any]]
    diagnosis: dict[str, Any]
    arms: Arms


def data(summary: dict[str, Any]) -> Masks | None:
    """The masks of a diagnosis, if any has an accuracy."""
    diagnosis = summary.get("diagnosis") or {}
    rows = [*(diagnosis.get("anchors") or []), *(diagnosis.get("suspects") or [])]
    masked = [row for row in rows if _known(row)]
    return Masks(masked, diagnosis, Arms.of(summary)) if masked else None


def draw(shown: Masks) -> Plot:
    """Accuracy right after pruning against what was removed: readings of ISSP, and controls."""
    masks = [_mask_row(row) for row in shown.rows]
    controls = control_rows(shown)
    x, y = ([row[field] for row in masks] for field in ("sparsity", "accuracy"))
    alt_text = (
        f"Validation accuracy right after pruning against the sparsity reached, "
        f"{plural(len(masks), 'setting')} of ISSP from {level(min(x) / 100)} to "
        f"{level(max(x) / 100)} sparsity with {percent(min(y) / 100)} to {percent(max(y) / 100)}, "
        "beside one-shot controls."
    )
    return Plot(
        chart=_chart(masks, controls, shown).properties(width=style.WIDTH, height=300),
        title=finding(shown),
        alt=alt_text,
        table=DataTable.of(HEADS, [*masks, *controls]),
        note=parts.sample(row["n"] for row in [*masks, *controls]),
    )


def finding(shown: Masks) -> str:
    """How many settings collapse."""
    dense, limit = (number(shown.diagnosis.get(f)) for f in ("dense", "limit"))
    count = plural(len(shown.rows), "setting")
    if dense is None or limit is None:
        return f"Accuracy right after pruning of {count} of ISSP"
    low = sum(float(row["accuracy"]) < dense - limit for row in shown.rows)
    far = f"more than {100 * limit:g} points below dense"
    return f"{low} of {count} of ISSP are {far} right after pruning"


def control_rows(shown: Masks) -> list[dict[str, Any]]:
    """Controls of the mask by arm and sparsity."""
    rows = []
    for arm in shown.arms.mask_controls():
        here = [
            r for r in shown.diagnosis.get("controls") or [] if r.get("arm") == arm and _known(r)
        ]
        for row in sorted(here, key=lambda r: float(r["sparsity"])):
            rows.append(_row(row, shown.arms.short(arm), "") | {"arm": arm})
    return rows


def _known(row: dict[str, Any]) -> bool:
    return all(number(row.get(field)) is not None for field in ("sparsity", "accuracy"))


def _mask_row(row: dict[str, Any]) -> dict[str, Any]:
    if row.get("suspect") is None:
        return _row(row, _ANCHOR, clean(row.get("name"), 120))
    return _row(row, _CHANGE, change(row, 120))


def _row(row: dict[str, Any], kind: str, label: str) -> dict[str, Any]:
    tip = parts.lines(kind, label, f"{level(row['sparsity'])} removed: {percent(row['accuracy'])}",
                      f"{amount(row.get('n'))} seeds")  # fmt: skip
    return {"kind": kind, "label": label, "sparsity": parts.in_percent(row["sparsity"]),
            "accuracy": parts.in_percent(row["accuracy"]), "n": row.get("n"),
            "tip": tip}  # fmt: skip


def _chart(
    masks: list[dict[str, Any]], controls: list[dict[str, Any]], shown: Masks
) -> alt.LayerChart:
    arms = dict.fromkeys(row["arm"] for row in controls)
    looks = {shown.arms.short(a): (shown.arms.colour(a), shown.arms.marker(a)) for a in arms}
    looks |= {_CHANGE: (style.GREEN, "circle"), _ANCHOR: (style.BAND, "diamond")}
    names = list(looks)
    colour = parts.coloured(names, [c for c, _ in looks.values()], "kind")
    shape = parts.shaped(names, [s for _, s in looks.values()], "kind")
    rows = [*controls, *masks]
    dense, limit = (parts.in_percent(shown.diagnosis.get(f)) for f in ("dense", "limit"))
    edges = [dense - limit] if dense is not None and limit is not None else []
    x = parts.x_axis("sparsity", "Sparsity reached, of the prunable weights (%)",
                     parts.span((row["sparsity"] for row in rows), least=5.0))  # fmt: skip
    heights = parts.span([*(row["accuracy"] for row in rows), dense, *edges], 2.0)
    y = parts.y_axis("accuracy", "Val. accuracy, just pruned (%)", heights)
    line = parts.chart(controls).mark_line(strokeDash=style.DASHED, strokeWidth=1.5)
    base = parts.chart(rows).encode(x=x, y=y)
    stars = parts.chart(row for row in masks if row["kind"] == _ANCHOR).encode(x=x, y=y)
    layers: list[Any] = [
        line.encode(x=x, y=y, color=colour),
        base.mark_point(size=60).encode(color=colour, shape=shape),
        stars.mark_point(size=190, stroke=style.PAPER).encode(color=colour, shape=shape),
        parts.hover(base),
    ]
    if dense is not None:
        layers.append(parts.level_line(dense, "Dense", style.DASHED))
    for edge in edges:
        layers.append(parts.level_line(edge, f"Collapse: {limit:g} points below", style.DOTTED))
    return parts.layered(*layers)


FIGURE = Figure(
    name="diagnosis_sparsity",
    place="diagnosis",
    caption="Accuracy right after pruning against what was removed: ISSP beside controls as "
    "sparse.",
    data=data,
    draw=draw,
)
