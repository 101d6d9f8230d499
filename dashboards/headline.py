"""The top of the page: the answer in words, and the key figures of the recommended setting."""

from dataclasses import dataclass
from typing import Any

from dashboards.arms import Arms
from dashboards.text import (
    DASH,
    clean,
    duration,
    interval,
    level,
    number,
    percent,
    plural,
    points,
    points_interval,
    ratio,
    sentence,
    tolerance_points,
)

ROWS = {
    "essential": "One-shot pruning",
    "recommended": "What to use",
    "saves": "What it saves",
    "costs": "What it costs",
    "surer": "To be surer",
}
"""The summary's sentences, each with its label on the first screen."""

_MEANINGS = {"good": "good", "open": "open", "bad": "not good"}


@dataclass(frozen=True, slots=True)
class Card:
    """One key figure: its label, its value, and a note on how to read it."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Said:
    """A row of the answer: its label, one number of it or "", and the summary's sentence."""

    label: str
    figure: str
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the strip of trust; `standing` is its look, `meaning` says the same in a word."""

    about: str
    standing: str
    meaning: str
    words: str


def answer(summary: dict[str, Any]) -> list[Said]:
    """The answer in the summary's sentences; at least one."""
    counts = summary.get("trials") or {}
    if not counts.get("finished"):
        planned = plural(counts.get("planned") or 0, "trial")
        return [Said("", "", f"No trial has finished yet, of {planned} planned.")]
    sentences, best = summary.get("answer") or {}, summary.get("recommended") or {}
    figures = {"recommended": Arms.of(summary).label(best.get("arm")) if best else ""}
    if number(best.get("macs_ratio")) is not None:
        saves = best["macs_ratio"] < 1
        figures["saves"] = f"{ratio(best['macs_ratio'])} MACs" if saves else "Nothing"
    if number(best.get("difference")) is not None:
        figures["costs"] = f"{points(best['difference'])} points"
    rows = [
        Said(label, figures.get(kind, ""), sentence(sentences[kind]))
        for kind, label in ROWS.items() if sentences.get(kind)
    ]  # fmt: skip
    if not sentences.get("recommended"):
        rows.append(Said("What to use", "", "The trials that finished allow no recommendation."))
        causes = (summary.get("diagnosis") or {}).get("sentences") or []
        rows += [Said("Why ISSP collapses", "", sentence(cause)) for cause in causes[:1]]
    return rows


def trust(summary: dict[str, Any]) -> list[Mark]:
    """The strip of trust."""
    marks = []
    for row in summary.get("trust") or []:
        standing = str(row.get("standing"))
        standing = standing if standing in _MEANINGS else "open"
        about, words = clean(row.get("about"), 40), clean(row.get("words"), 300)
        marks.append(Mark(about, standing, _MEANINGS[standing], words))
    return marks


def unfinished(summary: dict[str, Any]) -> str:
    """That trials are still missing, or the empty text."""
    counts = summary.get("trials") or {}
    planned, finished = counts.get("planned") or 0, counts.get("finished") or 0
    failed = counts.get("failed") or 0
    if finished + failed >= planned:
        return ""
    so_far = f"{finished:,} of {plural(planned, 'trial')} finished"
    return f"Not finished: {so_far}, {failed:,} failed. All numbers will change."


def sparsity_interval(essential: dict[str, Any]) -> str:
    """`20 % to 40 %`, `above 50 %, the highest level measured`, or a dash when unknown."""
    low, high = number(essential.get("low")), number(essential.get("high"))
    levels = [
        x for row in essential.get("curve") or [] if (x := number(row.get("sparsity"))) is not None
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


def recovered(essential: dict[str, Any] | None) -> bool:
    """Whether the levels of the one-shot curve were fine-tuned before they were measured."""
    return (essential or {}).get("evaluate") == "after_finetune"


def measured(essential: dict[str, Any] | None) -> str:
    """When the losses of the one-shot curve were measured, in words."""
    return f"{'after' if recovered(essential) else 'before'} fine-tuning"


def essential_card(summary: dict[str, Any]) -> Card:
    """s* with its interval; notes if all levels are within the tolerance, or none is."""
    essential = summary.get("essential_sparsity")
    label = "Essential sparsity"
    if not essential:
        return Card(label, DASH, "Not measured in this sweep.")
    tolerated = (
        f"Tolerated loss: {tolerance_points(essential.get('tolerance'))}, {measured(essential)}."
    )
    value, bracket = number(essential.get("value")), list(essential.get("bracket") or [])
    beyond = number(bracket[1]) if len(bracket) > 1 else None
    bounds, scope = sparsity_interval(essential), clean(essential.get("scope"), 40)
    confidence = percent(summary.get("confidence", 0.95), 0)
    note = f"{confidence} interval, {scope}: {bounds}."
    if bounds == DASH:
        note = f"The interval is too wide to say ({scope})."
    if not value:
        note = f"No level measured stays within the tolerance. {note}"
        return Card(label, f"Below {level(beyond)}" if beyond else "None", f"{note} {tolerated}")
    return Card(label, level(value) if beyond else f"≥ {level(value)}", f"{note} {tolerated}")


def recommended_cards(summary: dict[str, Any]) -> list[Card]:
    """What the recommended setting reaches next to the dense reference, and what it saves."""
    best = summary.get("recommended")
    if not best:
        return [Card("Setting", DASH, "No trial qualifies yet.")]
    tuned = best.get("reference") == "fine_tuned"
    source = "with equal fine-tuning" if tuned else "before fine-tuning"
    tokens = "on the patches that it keeps" if best.get("patch_drop") else "on whole images"
    mean = f"Mean over {plural(int(best.get('n') or 0), 'seed')}, {tokens}."
    dense = percent(best.get("dense_test_accuracy"))
    gap = points(best.get("difference"))
    one_shot = level(best.get("sparsity"))
    one_shot_note = "" if one_shot == DASH else f" One-shot level: {one_shot}."
    return [
        Card("Setting", Arms.of(summary).label(best.get("arm")), clean(best.get("reason"), 600)),
        Card("Test accuracy", percent(best.get("test_accuracy")),
             f"{mean} Dense {source}: {dense}."),
        Card("Difference to dense", gap if gap == DASH else f"{gap} points",
             scopes_note(summary, best)),
        Card("Final sparsity", percent(best.get("final_sparsity")),
             f"Of the prunable weights.{one_shot_note}"),
        Card("MACs per image, relative to dense", ratio(best.get("macs_ratio")), _macs_note(best)),
    ]  # fmt: skip


def scopes_note(summary: dict[str, Any], best: dict[str, Any]) -> str:
    """Both intervals of the recommended setting's difference, each with its scope."""
    few = f"unknown (n = {int(best.get('n_compared') or 0)})"
    alone = best.get("scope") == "these models"
    models = _limits(best, "models", "unknown (too few images)")
    seeds = _limits(best, "seeds", few if alone else "unknown (too wide)")
    confidence = percent(best.get("confidence", 0.95), 0)
    tolerated = tolerance_points(best.get("tolerance"))
    verdict = {
        "shown": f"Shown to be within {tolerated}",
        "exceeded": f"Shown to lose more than {tolerated}",
    }.get(clean(best.get("verdict"), 40), f"Not shown to be within {tolerated}")
    scope = clean(best.get("scope"), 40)
    return (
        f"{confidence} intervals: these models {models}; other seeds {seeds}. {verdict} ({scope})."
    )


def _limits(best: dict[str, Any], scope: str, otherwise: str) -> str:
    interval_text = points_interval(best.get(f"{scope}_low"), best.get(f"{scope}_high"))
    return otherwise if interval_text == DASH else interval_text


def _macs_note(best: dict[str, Any]) -> str:
    kept_ratio, total_ratio = number(best.get("macs_ratio_kept")), number(best.get("macs_ratio"))
    if kept_ratio is None or total_ratio is None:
        return "Not measured."
    if not best.get("patch_drop"):
        return "All patches are kept; zeros alone speed nothing up."
    speed = number(best.get("images_per_s_ratio"))
    text = f"{ratio(kept_ratio)} on the kept patches alone"
    text += f", measured at {ratio(speed)} the images/s" if speed is not None else ""
    if total_ratio - kept_ratio > 1e-9:
        return f"{text}; the rest chooses the patches."
    return f"{text}."


def cost_words(cost: dict[str, Any]) -> str:
    """`4.6 CPU-minutes instead of 29 without sharing stages`, from the summary."""
    return clean(cost.get("words"), 200) or DASH


def cards(summary: dict[str, Any]) -> list[Card]:
    """The key figures in reading order."""
    cost, counts = summary.get("cost") or {}, summary.get("trials") or {}
    finished, failed = counts.get("finished") or 0, counts.get("failed") or 0
    missing = max((counts.get("planned") or 0) - finished - failed, 0)
    used, _, rest = cost_words(cost).partition(" instead ")
    rest = f"Instead {rest}." if rest else ""
    wall = "" if cost.get("wall_s") is None else f"{duration(cost['wall_s'])} on the clock."
    return [
        essential_card(summary),
        *recommended_cards(summary),
        Card("Cost", used, f"{rest} {wall}".strip() or "No stage was shared."),
        Card(
            "Trials finished",
            f"{finished:,} of {counts.get('planned') or 0:,}",
            f"{failed:,} failed, {missing:,} not finished.",
        ),
    ]


def dense_note(summary: dict[str, Any]) -> str:
    """Which model "dense" refers to, in a sentence or two."""
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
