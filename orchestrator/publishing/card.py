"""The accuracy of a trial's model: on whole images, and on the patches that it keeps.

The weights in plain timm, or the served model, run all patches of each image. The recommendation is
about the model that drops patches. So the card gives both accuracies, each with the cost of the
same forward pass.
"""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.visible import markdown_code
from orchestrator.vocabulary import Metric
from trials.arms import REDUCED_AS, TICKETED

Row = Mapping[str, Any]
"""Params and metrics of a trial's run, by name."""

ALL = "all patches of each image"


def measured(row: Row) -> dict[str, Any]:
    """Both readings as plain values; None for what an earlier version did not measure.

    `macs` are for one image, including the choice of its patches.
    """
    return {
        "images": {
            "validation": _count(row, Metric.FINAL_VAL_N),
            "test": _count(row, Metric.FINAL_TEST_N),
        },
        "whole_images": {
            "tokens": f"{ALL}: what plain timm runs",
            "val_accuracy": number(row, Metric.FINAL_VAL_ACCURACY),
            "test_accuracy": number(row, Metric.FINAL_TEST_ACCURACY),
            "macs": number(row, Metric.FINAL_MACS_DENSE),
        },
        "deployed": {
            "tokens": tokens(row),
            "val_accuracy": number(row, Metric.FINAL_DEPLOYED_VAL_ACCURACY),
            "test_accuracy": number(row, Metric.FINAL_DEPLOYED_TEST_ACCURACY),
            "macs": number(row, Metric.FINAL_MACS_DEPLOYED),
            "macs_selector": number(row, Metric.FINAL_MACS_SELECTOR),
        },
    }


def tokens(row: Row) -> str:
    """The patches of an image that a deployed model sees, in words."""
    entering, inside = _entering(row), _inside(row)
    return f"{entering}; {inside}" if inside else entering


def _inside(row: Row) -> str:
    """How tokens leave inside the model; empty where none does."""
    method = row.get("reduction.method")
    if method not in REDUCED_AS:
        return ""
    tome = method == "tome"
    setting = f"r {row.get('reduction.r')}" if tome else f"keep {row.get('reduction.keep')}"
    return f"tokens {'merge' if tome else 'leave'} inside ({method}, {setting})"


def _entering(row: Row) -> str:
    """The patches that enter the first block, in words."""
    kept, drop = number(row, Metric.TICKETS_KEPT_PATCHES), number(row, "patch_drop")
    if row.get("arm") not in TICKETED or not drop or kept is None:
        return ALL
    whose, score = row.get("tickets.weights"), row.get("tickets.score")
    by_attention = f"by the attention of the {whose} model (score {score})"
    selection = {
        "attention": f"the highest {by_attention}",
        "lowest": f"the lowest {by_attention}",
        "random_fixed": "drawn at random once",
    }.get(str(row.get("tickets.select")), by_attention)
    count = f"{kept:g} patches of each image"
    if row.get("tickets.scope") == "global":
        count = f"{kept:g} patches of an image on average"
        selection += ", one threshold for all images"
    removal = row.get("tickets.removal")
    hidden = "" if removal == "gather" else f"; the others are hidden ({removal}), and still cost"
    return f"{count} (patch_drop {drop:g}), {selection}{hidden}"


def card(name: str, row: Row) -> str:
    """A description of the logged model, which runs whole images, and of its accuracy."""
    readings = measured(row)
    whole, deployed, images = readings["whole_images"], readings["deployed"], readings["images"]
    sentences = [
        f"{markdown_code(name)}. This model runs {ALL}: {_accuracies(whole, images)}, "
        f"at {_macs(whole['macs'])} MACs an image."
    ]
    if deployed["tokens"] == ALL:
        return sentences[0]
    if deployed["test_accuracy"] is None:
        sentences.append(
            f"What it is worth on {deployed['tokens']}, was not measured by the version that ran "
            "it: run the sweep again, and only the evaluation is computed."
        )
        return " ".join(sentences)
    selector = deployed["macs_selector"]
    chosen = f", {_macs(selector)} of them to choose the patches" if selector else ""
    sentences.append(
        f"On {deployed['tokens']}: {_accuracies(deployed, images)}, "
        f"at {_macs(deployed['macs'])} MACs an image{chosen}. Leaving patches out takes "
        "`trials.model.forward`; plain timm and `mlflow models serve` do not."
    )
    return " ".join(sentences)


def number(row: Row, metric: str) -> float | None:
    """A value as a finite number, else None."""
    try:
        value = float(row[metric])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _count(row: Row, metric: str) -> int | None:
    value = number(row, metric)
    return None if value is None else int(value)


def _accuracies(reading: Row, images: Row) -> str:
    return " and ".join(
        _accuracy(reading[f"{short}_accuracy"], images[split], split)
        for short, split in (("test", "test"), ("val", "validation"))
    )


def _accuracy(value: float | None, count: int | None, split: str) -> str:
    """`95.6 % of 500 test images right`."""
    share = "–" if value is None else f"{100 * value:.1f} %"
    return f"{share} of {'the' if count is None else count} {split} images right"


def _macs(value: float | None) -> str:
    """`38.8 million`."""
    if value is None:
        return "an unknown number of"
    for unit, unit_name in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= unit:
            return f"{value / unit:.3g} {unit_name}"
    return f"{value:g}"
