"""The answer in one short line each, for a terminal; the same numbers as the sentences.

Made from summary.json, so that a report of an earlier version can be shown as well.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.selection.verdicts import between, level, percent, points_of, ratio

ZEROS = "zeros alone speed nothing up"

NOTHING_RECOMMENDED = "Nothing is recommended: no trial of a LOTUS arm has finished."


def short_answer(summary: Mapping[str, Any]) -> dict[str, str]:
    """What was found, which setting to use, what it saves and what it costs in accuracy.

    Args:
        summary: the content of summary.json.

    Returns:
        `found` and `use`, and where a setting is recommended `saves` and `costs`.
    """
    said, best = summary["answer"], summary["recommended"]
    found = summary.get("essential_sparsity")
    lines = {"found": found_words(found) if found else str(said["essential"])}
    if not best:
        return lines | {"use": NOTHING_RECOMMENDED}
    lines["use"] = str(said["recommended"])
    return lines | {"saves": saves_words(best), "costs": costs_words(best)}


def found_words(essential: Mapping[str, Any]) -> str:
    """How much of the prunable weights one-shot pruning may remove.

    Args:
        essential: the entry `essential_sparsity` of summary.json.
    """
    value, beyond = essential["bracket"]
    tolerated = f"more than {points_of(essential['tolerance'])}"
    if not value:
        start = f"Pruning {level(beyond)} in one shot, the lowest level, loses {tolerated}"
    elif beyond is None:
        start = f"Up to {level(value)}, the highest level, can be pruned in one shot"
    else:
        start = f"Up to {level(value)} can be pruned in one shot; {level(beyond)} loses "
        lost = _drop_at(essential, beyond)
        start += tolerated if lost is None else f"{100 * lost:.1f} points"
    if essential["detector"] != "first_violation":
        start += f" (by the detector {essential['detector'].replace('_', ' ')})"
    low, high = essential["low"], essential["high"]
    if low is None:
        return f"{start}."
    limits = f"above {level(low)}" if high is None else f"{level(low)} to {level(high)}"
    return f"{start}. For {essential['scope']}: {limits}."


def saves_words(best: Mapping[str, Any]) -> str:
    """What the recommended setting saves at inference.

    Args:
        best: the entry `recommended` of summary.json.
    """
    total, kept = best["macs_ratio"], best["macs_ratio_kept"]
    zeros = f"; {ZEROS}" if best["final_sparsity"] else ""
    if total is None or kept is None:
        return f"Its MACs were not measured{zeros}."
    if not best["patch_drop"] and abs(total - 1) <= 1e-9:
        return f"No MACs, because it keeps all patches{zeros}."
    words = f"{'It needs' if total < 1 else 'Nothing: it needs'} {ratio(total)} the MACs of dense"
    if total - kept > 1e-9:
        words += f" ({ratio(kept)} where the patches are known beforehand)"
    if best["images_per_s_ratio"] is not None:
        words += f", measured {ratio(best['images_per_s_ratio'])} the images/s"
        words += " on kept patches" if best["patch_drop"] else ""
    return f"{words}{zeros}."


def costs_words(best: Mapping[str, Any]) -> str:
    """What the recommended setting costs in accuracy on test, and how sure that is.

    Args:
        best: the entry `recommended` of summary.json.
    """
    gap = best["difference"]
    if gap is None:
        return "Its accuracy on test was not compared with dense."
    size = f"{abs(100 * gap):.1f}"
    points = f"{size} point{'' if size == '1.0' else 's'}"
    start = f"{points} less than dense on test"
    if gap > 0:
        start = f"No accuracy: {points} more than dense on test"
    if size == "0.0":
        start = "Less than 0.1 points of difference to dense on test"
    both = f"{percent(best['test_accuracy'])} against {percent(best['dense_test_accuracy'])}"
    scopes = {"these models": "models", "other seeds": "seeds"}
    limits = [
        f"{name} {between(best[f'{scope}_low'], best[f'{scope}_high'])}"
        for name, scope in scopes.items()
        if best[f"{scope}_low"] is not None and best[f"{scope}_high"] is not None
    ]
    return f"{start} ({both}){': ' if limits else ''}{', '.join(limits)}."


def _drop_at(essential: Mapping[str, Any], sparsity: float) -> float | None:
    """The mean loss at a level of the curve."""
    for point in essential["curve"]:
        if abs(point["sparsity"] - sparsity) < 1e-9:
            loss: float | None = point.get("drop")
            return loss
    return None
