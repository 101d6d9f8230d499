"""What a trial's model is worth: on whole images, and on the patches that it keeps.

Whoever loads the weights into plain timm, or serves the logged model, runs all patches of each
image. The recommendation is about the model that leaves patches out. So both are said, each with
the cost of the same forward pass.
"""

import math
from collections.abc import Mapping
from typing import Any

from trials.arms import TICKETED

Row = Mapping[str, Any]
"""Params and metrics of a trial's run, by name."""

ALL = "all patches of each image"


def measured(row: Row) -> dict[str, Any]:
    """Both readings as plain values; None for what the version that ran the trial did not measure.

    `macs` are of one image, and include those of whatever chooses its patches.
    """
    return {
        "images": {"validation": _count(row, "final/val_n"), "test": _count(row, "final/test_n")},
        "whole_images": {
            "tokens": f"{ALL}: what plain timm runs",
            "val_accuracy": number(row, "final/val_accuracy"),
            "test_accuracy": number(row, "final/test_accuracy"),
            "macs": number(row, "final/macs_dense"),
        },
        "deployed": {
            "tokens": tokens(row),
            "val_accuracy": number(row, "final/deployed_val_accuracy"),
            "test_accuracy": number(row, "final/deployed_test_accuracy"),
            "macs": number(row, "final/macs_deployed"),
            "macs_selector": number(row, "final/macs_selector"),
        },
    }


def tokens(row: Row) -> str:
    """The patches that a deployed model sees of an image, in words."""
    kept, drop = number(row, "tickets/kept_patches"), number(row, "patch_drop")
    if row.get("arm") not in TICKETED or not drop or kept is None:
        return ALL
    whose, score = row.get("tickets.weights"), row.get("tickets.score")
    looks = f"by the attention of the {whose} model (score {score})"
    which = {
        "attention": f"the highest {looks}",
        "lowest": f"the lowest {looks}",
        "random_fixed": "drawn at random once",
    }.get(str(row.get("tickets.select")), looks)
    many = f"{kept:g} patches of each image"
    if row.get("tickets.scope") == "global":
        many = f"{kept:g} patches of an image on average"
        which += ", one threshold for all images"
    removal = row.get("tickets.removal")
    hidden = "" if removal == "gather" else f"; the others are hidden ({removal}), and still cost"
    return f"{many} (patch_drop {drop:g}), {which}{hidden}"


def card(name: str, row: Row) -> str:
    """What the logged model is and is worth, for people; it runs whole images."""
    found = measured(row)
    whole, deployed, images = found["whole_images"], found["deployed"], found["images"]
    said = [
        f"`{name}`. This model runs {ALL}: {_accuracies(whole, images)}, "
        f"at {_macs(whole['macs'])} MACs an image."
    ]
    if deployed["tokens"] == ALL:
        return said[0]
    if deployed["test_accuracy"] is None:
        said.append(
            f"What it is worth on {deployed['tokens']}, was not measured by the version that ran "
            "it: run the sweep again, and only the evaluation is computed."
        )
        return " ".join(said)
    selector = deployed["macs_selector"]
    chosen = f", {_macs(selector)} of them to choose the patches" if selector else ""
    said.append(
        f"On {deployed['tokens']}: {_accuracies(deployed, images)}, "
        f"at {_macs(deployed['macs'])} MACs an image{chosen}. Leaving patches out takes "
        "`trials.vit.forward`; plain timm and `mlflow models serve` do not."
    )
    return " ".join(said)


def number(row: Row, name: str) -> float | None:
    """A value as a number; None where there is none."""
    try:
        found = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _count(row: Row, name: str) -> int | None:
    found = number(row, name)
    return None if found is None else int(found)


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
    for unit, name in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:g}"
