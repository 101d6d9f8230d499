"""Ways to prune, at equal sparsity and as many training steps: the table that ISP's paper has.

Every one trains the T steps of the section `finetune`. What comes on top is said: the look-ahead of
the denoiser, and the trainings before the prunes of lottery tickets.
"""

from collections.abc import Sequence
from typing import Any

from orchestrator.selection.arms import test_interval
from orchestrator.selection.design import PRESET
from orchestrator.selection.families import System, one_shot
from orchestrator.selection.settings import TEST, comparable, preference
from orchestrator.vocabulary import Metric
from trials.arms import BASE_AXES

_ORDER = (
    "progressive_published", "lth", "progressive", "isp_published", "isp_published_votes",
    "isp_code",
)  # fmt: skip
"""Presets of ISSP that train for T steps, after chance and one-shot."""

_PRUNING = ("issp.", "essential.", "reduction.")


def matched(systems: Sequence[System], confidence: float) -> list[dict[str, Any]]:
    """A row for each way and each sparsity at which a reading of ISP and another way were run.

    Settings that are trained in another way than most are left out, so all rows have one T. Of
    several settings of one way the best by validation stands here.

    Returns:
        sparsity, system, extra (training beyond T, in words), n, test_accuracy, ci_low, ci_high,
        scope, macs_training; by sparsity, then from chance to ISP. Accuracies are fractions.
    """
    ways = [s for s in systems if s.family == "weights" and _rank(s) is not None]
    ways.sort(key=lambda s: preference(s.setting))
    recipes = [_recipe(s) for s in ways]
    usual = max(recipes, key=recipes.count, default=None)
    best: dict[tuple[float, int], System] = {}
    for s in ways:
        sparsity, rank = s.setting.mean[Metric.FINAL_SPARSITY], _rank(s)
        if _recipe(s) == usual and sparsity and rank is not None:
            best.setdefault((round(sparsity, 6), rank), s)
    rows = []
    for sparsity in sorted({place[0] for place in best}):
        here = [best[place] for place in sorted(best) if place[0] == sparsity]
        if len(here) > 1 and any(s.is_issp for s in here):
            rows += [_row(s, sparsity, confidence) for s in here]
    return rows


def _rank(s: System) -> int | None:
    """The place of a way in the table; None if it does not train for T steps."""
    if s.control:
        return 0
    if one_shot(s):
        return 1
    preset = str(s.config[PRESET])
    return _ORDER.index(preset) + 2 if s.is_issp and preset in _ORDER else None


def _recipe(s: System) -> tuple[Any, ...]:
    """What the T steps are: all axes but those of pruning."""
    axes = s.setting.axes
    others = sorted(a for a in axes if a not in BASE_AXES and not a.startswith(_PRUNING))
    own = [comparable(s.config[c]) for c in ("finetune.epochs", "finetune.weights")]
    return (*own, *((a, comparable(axes[a])) for a in others))


def _row(s: System, sparsity: float, confidence: float) -> dict[str, Any]:
    limits, scope = test_interval(s.setting, confidence)
    return {
        "sparsity": sparsity,
        "system": s.name,
        "extra": _extra(s),
        "n": len(s.setting.seeds),
        "test_accuracy": s.setting.mean[TEST],
        "ci_low": limits.low if limits else None,
        "ci_high": limits.high if limits else None,
        "scope": scope,
        "macs_training": s.setting.mean[Metric.FINAL_MACS_TRAINING],
    }


def _extra(s: System) -> str:
    if not s.is_issp:
        return ""
    preset = str(s.config[PRESET])
    if preset == "lth":
        return "a training before each prune"
    return "" if s.config["issp.steps"] in (0, None) else "the denoiser's look-ahead"
