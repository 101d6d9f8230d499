"""The top of the page: the answer in words and the key figures, all of one recommended setting."""

from dataclasses import dataclass
from typing import Any

from dashboards.text import (
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
    tolerance_points,
)


@dataclass(frozen=True, slots=True)
class Card:
    """One key figure: what it is, its value, and what one must know to read it."""

    label: str
    value: str
    note: str


def answer(summary: dict[str, Any]) -> list[str]:
    """What the sweep found, in the summary's own sentences; at least one."""
    counts = summary.get("trials") or {}
    if not counts.get("finished"):
        planned = plural(counts.get("planned") or 0, "trial")
        return [f"No trial has finished yet, of {planned} planned."]
    said = summary.get("answer") or {}
    found = [clean(said[name]) for name in ("essential",) if said.get(name)]
    if said.get("recommended"):
        parts = [f"Recommended: {clean(said['recommended'])}."]
        parts += [clean(said[name]) for name in ("saves", "costs") if said.get(name)]
        return [*found, *parts]
    return [*found, "The trials that finished allow no recommendation."]


def sparsity_interval(found: dict[str, Any]) -> str:
    """`20 % to 40 %`, `above 50 %, the highest level measured`, or a dash when unknown."""
    low, high = number(found.get("low")), number(found.get("high"))
    levels = [
        x for row in found.get("curve") or [] if (x := number(row.get("sparsity"))) is not None
    ]
    if low is None:
        return DASH
    if high is None:
        top = f"above {level(max(levels))}, the highest level measured" if levels else "unknown"
        return f"{level(low)} to {top}"
    ends = level(low), level(high)
    return (
        f"{ends[0]} to {ends[1]}"
        if ends[0] != ends[1]
        else f"{percent(low, 2)} to {percent(high, 2)}"
    )


def essential_card(summary: dict[str, Any]) -> Card:
    """s* with its interval; says when the levels did not reach it, or all were beyond it."""
    found = summary.get("essential_sparsity")
    label = "Essential sparsity, in one shot"
    if not found:
        return Card(label, DASH, "Not measured in this sweep.")
    loss = f" Tolerated loss: {tolerance_points(found.get('tolerance'))}, before fine-tuning."
    value, bracket = number(found.get("value")), list(found.get("bracket") or [])
    if value is None:
        return Card(label, "None", f"No level measured stays near dense.{loss}")
    reached = len(bracket) < 2 or bracket[1] is not None
    bounds = sparsity_interval(found)
    confidence = percent(summary.get("confidence", 0.95), 0)
    scope = clean(found.get("scope"), 40)
    note = f"{confidence} interval, {scope}: {bounds}."
    if bounds == DASH:
        note = f"No interval: too wide to say ({scope})."
    return Card(label, ("" if reached else "≥ ") + level(value), note + loss)


def recommended_cards(summary: dict[str, Any]) -> list[Card]:
    """What the recommended setting reaches, beside the dense reference, and what it saves."""
    best = summary.get("recommended")
    if not best:
        return [Card("Recommended setting", DASH, "No trial qualifies yet.")]
    n = plural(int(best.get("n") or 0), "seed")
    tuned = best.get("reference") == "fine_tuned"
    source = "with equal fine-tuning" if tuned else "before fine-tuning"
    return [
        Card(
            "Recommended setting",
            arm_label(best.get("arm")),
            clean(best.get("reason"), 400),
        ),
        Card(
            "Its test accuracy",
            percent(best.get("test_accuracy")),
            f"Mean of {n}, on the tokens that it uses. Dense {source}: "
            f"{percent(best.get('dense_test_accuracy'))}.",
        ),
        Card("Against dense, points", points(best.get("difference")), scopes_note(summary, best)),
        Card(
            "Final sparsity",
            percent(best.get("final_sparsity")),
            "Of the prunable weights, in the recommended model. Its one-shot level was "
            f"{level(best.get('sparsity'))}."
            if best.get("sparsity") is not None
            else "Of the prunable weights, in the recommended model.",
        ),
        Card("MACs per image, to dense", ratio(best.get("macs_ratio")), _macs_note(best)),
    ]


def scopes_note(summary: dict[str, Any], best: dict[str, Any]) -> str:
    """Both intervals of the recommended setting's difference, each with its scope."""
    models = points_interval(best.get("models_low"), best.get("models_high"))
    seeds = points_interval(best.get("seeds_low"), best.get("seeds_high"))
    if models == DASH:
        models = "too few images to say"
    if seeds == DASH:
        seeds = f"not said from {plural(int(best.get('n') or 0), 'seed')}"
    confidence = percent(summary.get("confidence", 0.95), 0)
    verdict = clean(best.get("verdict"), 40)
    tolerated = tolerance_points(best.get("tolerance"))
    said = {
        "shown": f"Shown to be within {tolerated}",
        "exceeded": f"Shown to lose more than {tolerated}",
    }.get(verdict, f"Not shown to be within {tolerated}")
    return f"{confidence} intervals: these models {models}; other seeds {seeds}. {said}."


def _macs_note(best: dict[str, Any]) -> str:
    kept, whole = number(best.get("macs_ratio_kept")), number(best.get("macs_ratio"))
    if kept is None or whole is None or kept >= 1 - 1e-9:
        return "All patches are kept; zeros alone speed nothing up."
    speed = number(best.get("images_per_s_ratio"))
    said = f"{ratio(kept)} on the kept patches"
    said += f", measured {ratio(speed)} images/s" if speed is not None else ""
    if whole - kept > 1e-9:
        return f"{said}; the rest chooses the patches."
    return f"{said}."


def cost_words(cost: dict[str, Any]) -> str:
    """`4.6 CPU-minutes instead of 29 without sharing`."""
    used, saved = number(cost.get("device_hours")), number(cost.get("device_hours_saved"))
    device = clean(cost.get("device") or "device").upper()
    if used is None:
        return DASH
    whole = used + (saved or 0.0)
    if whole < 1:
        return f"{60 * used:.1f} {device}-minutes instead of {60 * whole:.1f} without sharing"
    return f"{device_hours(used)} {device}-hours instead of {device_hours(whole)} without sharing"


def cards(summary: dict[str, Any]) -> list[Card]:
    """The key figures in reading order."""
    cost, counts = summary.get("cost") or {}, summary.get("trials") or {}
    finished, failed = counts.get("finished") or 0, counts.get("failed") or 0
    missing = max((counts.get("planned") or 0) - finished - failed, 0)
    used, _, rest = cost_words(cost).partition(" instead")
    wall = "" if cost.get("wall_s") is None else f" {duration(cost['wall_s'])} on the clock."
    return [
        essential_card(summary),
        *recommended_cards(summary),
        Card("Cost", used, f"Instead{rest}: stages are shared.{wall}" if rest else "Unknown."),
        Card(
            "Trials finished",
            f"{finished:,} of {counts.get('planned') or 0:,}",
            f"{failed:,} failed, {missing:,} not finished.",
        ),
    ]


def dense_note(summary: dict[str, Any]) -> str:
    """Which dense model is meant, in one sentence."""
    dense = summary.get("dense") or {}
    before = dense.get("before_fine_tuning") or {}
    models = plural(int(dense.get("n") or 0), "seed")
    bounds = interval(dense.get("test_ci_low"), dense.get("test_ci_high"))
    limits = "" if bounds == DASH else f" ({bounds}, {clean(dense.get('scope'), 40)})"
    if dense.get("reference") != "fine_tuned":
        return (
            f"Dense is the model before fine-tuning, {percent(dense.get('test_accuracy'))} on test "
            f"over {models}{limits}: the arm `dense` with equal fine-tuning was not run."
        )
    return (
        f"Dense is the arm with equal fine-tuning, {percent(dense.get('test_accuracy'))} on test "
        f"over {models}{limits}. Before that fine-tuning it had "
        f"{percent(before.get('test_accuracy'))}; only one-shot losses are against that."
    )
