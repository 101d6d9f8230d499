"""The top of the page: one sentence and the key figures."""

from dataclasses import dataclass
from typing import Any

from dashboards.tables import AXES
from dashboards.text import (
    AUTO,
    DASH,
    arm_label,
    clean,
    device_hours,
    duration,
    interval,
    level,
    number,
    percent,
    plural,
    points,
    points_interval,
    ratio,
    setting,
    tolerance_points,
)


@dataclass(frozen=True, slots=True)
class Card:
    """One key figure: what it is, its value, and what one must know to read it."""

    label: str
    value: str
    note: str


def arm_entry(summary: dict[str, Any], arm: str) -> dict[str, Any]:
    """The summary's entry of one arm; empty when the sweep did not run it."""
    return next((a for a in summary.get("arms") or [] if a.get("arm") == arm), {})


def headline_arm(summary: dict[str, Any]) -> dict[str, Any]:
    """The arm to set beside dense: LOTUS, else the recommended one, else none."""
    recommended = str((summary.get("recommended") or {}).get("arm", ""))
    return arm_entry(summary, "lotus") or arm_entry(summary, recommended)


def difference(summary: dict[str, Any], entry: dict[str, Any]) -> str:
    """`0.4 points below dense (95 % interval −0.9 to +0.1)`, or the empty text."""
    gap = number(entry.get("difference_to_dense"))
    if gap is None:
        return ""
    side = "below" if gap < 0 else "above"
    size = points(abs(gap)).lstrip("+")
    said = "equal to dense" if float(size) == 0 else f"{size} points {side} dense"
    bounds = points_interval(entry.get("difference_ci_low"), entry.get("difference_ci_high"))
    confidence = percent(summary.get("confidence", 0.95), 0)
    return said if bounds == DASH else f"{said} ({confidence} interval {bounds})"


def verdict(summary: dict[str, Any]) -> str:
    """What the sweep found, in one sentence."""
    counts = summary.get("trials") or {}
    chosen = summary.get("recommended")
    if not counts.get("finished"):
        return (
            f"No trial has finished yet, of {plural(counts.get('planned') or 0, 'trial')} planned."
        )
    if not chosen:
        return "The trials that finished allow no recommendation."
    text = f"Recommended: {arm_label(chosen.get('arm'))} at {setting(chosen)}"
    entry = arm_entry(summary, str(chosen.get("arm")))
    mean, test = number(entry.get("test_accuracy_mean")), number(chosen.get("test_accuracy"))
    if mean is not None and same_setting(
        chosen.get("setting") or chosen, entry.get("setting") or {}
    ):
        gap = difference(summary, entry)
        seeds = plural(int(entry.get("n") or 0), "seed")
        text += f"; {percent(mean)} test accuracy over {seeds}" + (f", {gap}" if gap else "")
    elif test is not None:
        dense = percent((summary.get("dense") or {}).get("test_accuracy"))
        text += f"; {percent(test)} test accuracy in one trial, dense {dense}"
    if not chosen.get("within_tolerance", True):
        text += ". By validation it is not within the tolerance of dense"
    return text + "."


def same_setting(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two settings agree on every axis; an axis that is None matches only None."""
    pairs = [(one.get(axis), other.get(axis)) for axis in AXES]
    return all(number(a) == number(b) and (a == AUTO) == (b == AUTO) for a, b in pairs)


def sparsity_interval(found: dict[str, Any]) -> str:
    """`20 % to 40 %`, `above 50 %, the highest level measured`, or a dash when unknown."""
    low, high = number(found.get("low")), number(found.get("high"))
    levels = [
        x for row in found.get("curve") or [] if (x := number(row.get("sparsity"))) is not None
    ]
    if low is None and (high is None or not levels):
        return DASH
    start = "below " + level(min(levels)) if low is None else level(low)
    if high is None:
        top = f"above {level(max(levels))}, the highest level measured" if levels else "unknown"
        return f"{start} to {top}"
    return f"{start} to {level(high)}"


def essential_card(summary: dict[str, Any]) -> Card:
    """s* with its interval; says when the levels did not reach it, or all were beyond it."""
    found = summary.get("essential_sparsity")
    if not found:
        return Card("Essential sparsity", DASH, "Not measured in this sweep.")
    loss = f" Tolerated loss: {tolerance_points(found.get('tolerance'))}."
    value, bracket = number(found.get("value")), list(found.get("bracket") or [])
    if value is None:
        return Card("Essential sparsity", "None", f"No level measured stays near dense.{loss}")
    reached = len(bracket) < 2 or bracket[1] is not None
    bounds = sparsity_interval(found)
    confidence = percent(summary.get("confidence", 0.95), 0)
    note = "" if bounds == DASH else f"{confidence} interval: {bounds}."
    return Card("Essential sparsity", ("" if reached else "≥ ") + level(value), note + loss)


def accuracy_cards(summary: dict[str, Any]) -> list[Card]:
    """Dense beside the headline arm, and the MACs ratio of the recommended trial."""
    dense = summary.get("dense") or {}
    entry = headline_arm(summary)
    name = arm_label(entry["arm"]) if entry else "LOTUS"
    seeds = plural(int(entry.get("n") or 0), "seed")
    bounds = interval(entry.get("ci_low"), entry.get("ci_high"))
    if not entry:
        note = "No pruned arm has finished."
    else:
        gap = difference(summary, entry)
        note = f"{gap[:1].upper()}{gap[1:]}. " if gap else ""
        note += f"Mean of {seeds}" + ("; no interval." if bounds == DASH else f": {bounds}.")
    chosen = summary.get("recommended") or {}
    macs = chosen.get("macs_ratio", entry.get("macs_ratio"))
    models = int(dense.get("n") or 0)
    dense_bounds = interval(dense.get("test_ci_low"), dense.get("test_ci_high"))
    limits = "" if dense_bounds == DASH else f": {dense_bounds}"
    return [
        Card(
            "Dense test accuracy",
            percent(dense.get("test_accuracy")),
            f"Mean of {plural(models, 'model')}{limits}; validation "
            f"{percent(dense.get('val_accuracy'))}."
            if models
            else "No dense model has finished.",
        ),
        Card(f"{name} test accuracy", percent(entry.get("test_accuracy_mean")), note),
        Card(
            "Weights removed",
            percent(chosen.get("final_sparsity")),
            "Of the prunable weights, in the recommended model.",
        ),
        Card("MACs, as a ratio to dense", ratio(macs), "From dropped patches only."),
    ]


def cards(summary: dict[str, Any]) -> list[Card]:
    """The key figures in reading order."""
    chosen, cost = summary.get("recommended"), summary.get("cost") or {}
    counts = summary.get("trials") or {}
    used, saved = number(cost.get("device_hours")), cost.get("device_hours_saved")
    small = "" if used is None or used >= 1 else f"{duration(3600 * used)}. "
    finished, failed = counts.get("finished") or 0, counts.get("failed") or 0
    missing = max((counts.get("planned") or 0) - finished - failed, 0)
    pick = Card("Recommended setting", DASH, "No trial qualifies yet.")
    if chosen:
        pick = Card(
            "Recommended setting",
            arm_label(chosen.get("arm")),
            f"{setting(chosen)}. {clean(chosen.get('reason'), 300)}".strip(),
        )
    return [
        essential_card(summary),
        pick,
        *accuracy_cards(summary),
        Card(
            f"{str(cost.get('device') or 'device').upper()}-hours used",
            device_hours(used),
            f"{small}{device_hours(saved)} saved by sharing stages.",
        ),
        Card(
            "Trials finished",
            f"{finished:,} of {counts.get('planned') or 0:,}",
            f"{failed:,} failed, {missing:,} not finished.",
        ),
    ]
