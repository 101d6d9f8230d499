"""Accuracy right after pruning against what was removed."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from dashboards import style
from dashboards.arms import Arms
from dashboards.figure import Figure
from dashboards.text import level, number, percent, plural

ANCHOR, CHANGE = style.BAND, style.GREEN


@dataclass(frozen=True, slots=True)
class Masks:
    """Anchors and changes with an accuracy, and their diagnosis."""

    rows: list[dict[str, Any]]
    diagnosis: dict[str, Any]
    arms: Arms


def data(summary: dict[str, Any]) -> Masks | None:
    """The masks of a diagnosis, if any has an accuracy."""
    diagnosis = summary.get("diagnosis") or {}
    masked = _masked(diagnosis)
    return Masks(masked, diagnosis, Arms.of(summary)) if masked else None


def draw(shown: Masks) -> tuple[Axes, str]:
    """Accuracy right after pruning against what was removed: readings of ISSP, and controls."""
    masked, diagnosis = shown.rows, shown.diagnosis
    (axes,) = style.new_figure(3.9)
    for arm in shown.arms.mask_controls():
        _control_line(axes, arm, shown)
    anchors = [row for row in masked if row.get("suspect") is None]
    changes = [row for row in masked if row.get("suspect") is not None]
    kinds: tuple[tuple[list[dict[str, Any]], str, dict[str, Any]], ...] = (
        (changes, "ISSP, one thing changed", {"marker": "o", "markersize": 5.5}),
        (anchors, "ISSP, anchor", {"marker": "*", "markersize": 13, "markeredgecolor": "white"}),
    )
    for rows, label, look in kinds:
        x, y = ([row[field] for row in rows] for field in ("sparsity", "accuracy"))
        colour = ANCHOR if rows is anchors else CHANGE
        if rows:
            axes.plot(x, y, ls="none", color=colour, label=label, zorder=4, **look)
    dense, limit = number(diagnosis.get("dense")), number(diagnosis.get("limit"))
    if dense is not None:
        axes.axhline(dense, color=style.INK, lw=1.2, ls="--", label="Dense model")
        if limit is not None:
            label = f"Collapse: {100 * limit:g} points below"
            axes.axhline(dense - limit, color=style.INK, lw=1.2, ls=":", label=label)
    axes.set_xlabel("Sparsity reached, of the prunable weights (%)")
    axes.set_ylabel("Val. accuracy, just pruned (%)")
    style.percent_ticks(axes, x=True, y=True)
    style.legend_below(axes)
    x, y = ([float(row[field]) for row in masked] for field in ("sparsity", "accuracy"))
    alt = (
        f"Validation accuracy right after pruning against the sparsity reached, "
        f"{plural(len(masked), 'setting')} of ISSP from {level(min(x))} to {level(max(x))} "
        f"sparsity with {percent(min(y))} to {percent(max(y))}, beside one-shot controls."
    )
    return axes, alt


def _masked(diagnosis: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [*(diagnosis.get("anchors") or []), *(diagnosis.get("suspects") or [])]
    needed = ("sparsity", "accuracy")
    return [r for r in rows if all(number(r.get(field)) is not None for field in needed)]


def _control_line(axes: Axes, arm: str, shown: Masks) -> None:
    arms, controls = shown.arms, shown.diagnosis.get("controls") or []
    rows = sorted(
        (float(r["sparsity"]), float(r["accuracy"])) for r in controls
        if r.get("arm") == arm and number(r.get("accuracy")) is not None
    )  # fmt: skip
    if rows:
        x, y = zip(*rows, strict=True)
        look: dict[str, Any] = {"color": arms.colour(arm), "marker": arms.marker(arm)}
        axes.plot(x, y, ls=style.DASHED, label=arms.short(arm), **look)


FIGURE = Figure(
    name="diagnosis_sparsity",
    place="diagnosis",
    caption="Accuracy right after pruning against what was removed: ISSP beside controls as "
    "sparse.",
    data=data,
    draw=draw,
)
