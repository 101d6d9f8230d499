"""The two figures of the diagnosis: what each change does, and accuracy by what was pruned."""

from typing import Any

from matplotlib.axes import Axes

from dashboards import style
from dashboards.style import Drawing
from dashboards.text import clean, level, number, percent, plural, points, short_arm_label

MOST_EFFECTS = 14  # changes of one anchor that a panel can name
_NAME = 34
_CONTROLS = ("magnitude", "random_mask")


def change(row: dict[str, Any], limit: int = _NAME) -> str:
    """`look-ahead steps: 10`, cut where it is long."""
    value = row.get("value")
    return clean(f"{row.get('label')}: {'–' if value is None else value}", limit)


def told_apart(row: dict[str, Any]) -> bool:
    """Whether the row's effect can be told from zero."""
    return row.get("verdict") in ("better", "worse")


def by_anchor(found: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every anchor that has changes to show, with them, in the diagnosis' order."""
    rows = found.get("suspects") or []
    pairs = [
        (anchor, [r for r in rows if r.get("anchor") == i])
        for i, anchor in enumerate(found.get("anchors") or [])
    ]
    return [(anchor, own) for anchor, own in pairs if own]


def _bar(
    axes: Axes,
    y: float,
    values: tuple[float | None, float | None, float | None],
    **look: Any,
) -> None:
    """A mean and its interval, where there are any."""
    mean, low, high = values
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=look["color"], lw=2.0, zorder=3, solid_capstyle="butt")
    if mean is not None:
        axes.plot([mean], [y], ls="none", zorder=4, **look)


def _three(row: dict[str, Any], mean: str, low: str, high: str) -> Any:
    return tuple(number(row.get(name)) for name in (mean, low, high))


def _effect_panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """One anchor: the largest effect on top."""
    for y, row in enumerate(reversed(rows)):
        colour = style.BAND if told_apart(row) else style.MUTED
        first = _three(row, "effect_pruned", "low", "high")
        last = _three(row, "effect_final", "final_low", "final_high")
        _bar(axes, y + 0.14, first, color=colour, marker="o", markersize=7)
        _bar(axes, y - 0.2, last, color="#d55e00", marker="s", markersize=4.5)
    names = [change(row) for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), names, color=style.INK, fontsize=10.5)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axvline(0, color=style.INK, lw=1.2, ls="--")
    axes.grid(axis="y", visible=False)
    style.percent_ticks(axes, x=True)


def _reach(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """The range of the means and half as much beside it: a wide interval goes on outside."""
    names = ("effect_pruned", "effect_final")
    means = [0.0, *(x for r in rows for n in names if (x := number(r.get(n))) is not None)]
    pad = max(0.01, 0.5 * (max(means) - min(means)))
    return min(means) - pad, max(means) + pad


def effects(found: dict[str, Any]) -> Drawing | None:
    """What each single change does to the accuracy, a panel per anchor."""
    groups = [(anchor, rows[:MOST_EFFECTS]) for anchor, rows in by_anchor(found)]
    if not groups:
        return None
    panels = style.new_figure(*(1.0 + 0.34 * len(rows) for _, rows in groups))
    for axes, (anchor, rows) in zip(panels, groups, strict=True):
        _effect_panel(axes, rows)
        title = clean(f"Changes to {anchor.get('name')}", 60)
        axes.set_title(title, loc="left", fontweight="bold", x=-0.65, fontsize=11)
    panels[0].set_xlim(*_reach([row for _, rows in groups for row in rows]))
    panels[-1].set_xlabel("Effect on accuracy (points)")
    look: dict[str, Any] = {"ls": "none", "color": style.BAND}
    panels[0].plot([], [], marker="o", label="Right after pruning", **look)
    panels[0].plot([], [], marker="s", label="After fine-tuning", ls="none", color="#d55e00")
    style.legend_below(panels[0])
    best = groups[0][1][0]
    effect = best.get("effect_pruned")
    effect = best.get("effect_final") if effect is None else effect
    alt = (
        f"Effect of {plural(sum(len(rows) for _, rows in groups), 'single change')} on accuracy, "
        f"largest first; the largest is {change(best, 200)} with {points(effect)} points."
    )
    return Drawing("diagnosis_effects", style.to_png(panels[0]), alt)


def by_sparsity(found: dict[str, Any]) -> Drawing | None:
    """Accuracy right after pruning against what was removed: readings of ISSP, and controls."""
    masked = _masked(found)
    if not masked:
        return None
    (axes,) = style.new_figure(3.9)
    for arm in _CONTROLS:
        _control_line(axes, arm, found.get("controls") or [])
    anchors = [row for row in masked if row.get("suspect") is None]
    changes = [row for row in masked if row.get("suspect") is not None]
    kinds: tuple[tuple[list[dict[str, Any]], str, dict[str, Any]], ...] = (
        (changes, "ISSP, one thing changed", {"marker": "o", "markersize": 5.5}),
        (anchors, "ISSP, anchor", {"marker": "*", "markersize": 13, "markeredgecolor": "white"}),
    )
    for rows, label, look in kinds:
        x, y = ([row[name] for row in rows] for name in ("sparsity", "accuracy"))
        colour = style.ARM_COLOURS["lotus" if rows is anchors else "issp"]
        if rows:
            axes.plot(x, y, ls="none", color=colour, label=label, zorder=4, **look)
    dense, limit = _dense(found), number(found.get("limit"))
    if dense is not None:
        axes.axhline(dense, color=style.INK, lw=1.2, ls="--", label="Dense model")
        if limit is not None:
            label = f"Collapse: {100 * limit:g} points below"
            axes.axhline(dense - limit, color=style.INK, lw=1.2, ls=":", label=label)
    axes.set_xlabel("Sparsity reached, of the prunable weights (%)")
    axes.set_ylabel("Val. accuracy, just pruned (%)")
    style.percent_ticks(axes, x=True, y=True)
    style.legend_below(axes)
    x, y = ([float(row[name]) for row in masked] for name in ("sparsity", "accuracy"))
    alt = (
        f"Validation accuracy right after pruning against the sparsity reached, "
        f"{plural(len(masked), 'setting')} of ISSP from {level(min(x))} to {level(max(x))} "
        f"sparsity with {percent(min(y))} to {percent(max(y))}, beside one-shot controls."
    )
    return Drawing("diagnosis_sparsity", style.to_png(axes), alt)


def _masked(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [*(found.get("anchors") or []), *(found.get("suspects") or [])]
    known = ("sparsity", "accuracy")
    return [r for r in rows if all(number(r.get(name)) is not None for name in known)]


def _dense(found: dict[str, Any]) -> float | None:
    known = [x for a in found.get("anchors") or [] if (x := number(a.get("dense"))) is not None]
    return sum(known) / len(known) if known else None


def _control_line(axes: Axes, arm: str, controls: list[dict[str, Any]]) -> None:
    rows = sorted(
        (float(r["sparsity"]), float(r["accuracy"])) for r in controls
        if r.get("arm") == arm and number(r.get("accuracy")) is not None
    )  # fmt: skip
    if rows:
        x, y = zip(*rows, strict=True)
        look: dict[str, Any] = {"color": style.ARM_COLOURS[arm], "marker": style.ARM_MARKERS[arm]}
        axes.plot(x, y, ls=(0, (4, 1.5)), label=short_arm_label(arm), **look)
