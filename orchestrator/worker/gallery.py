"""What the report's gallery of tickets draws: a few images, and what a model makes of them.

`tickets/gallery.json` holds numbers and small pictures, no drawing:

    split, patch_drop, columns (patches in a row)
    images: of each `picture` (a data address), `class` and `predicted` (number and name; the latter
        None in results of earlier versions), `right`, `attention` (a score for each patch, row by
        row), `kept` (a digit for each patch: 1 = kept)
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trials.data.datasets import Dataset
from trials.data.examples import example_rows
from trials.stages.attention import PatchScores
from trials.stages.evaluate import Final
from trials.stages.tickets import Tickets

SIDE_PX = 96
"""The longest side of a picture."""

SMALL_PX = 32
"""Up to it a picture is kept pixel by pixel; JPEG, which is much smaller, would blur it."""


def gallery(
    data: Dataset, patch_drop: float, tickets: Tickets, scores: PatchScores, final: Final
) -> dict[str, Any]:
    """The content of `tickets/gallery.json`, for a few validation images.

    Args:
        patch_drop: fraction of the patches removed.
        scores: from which the tickets were chosen.
        final: what the trial's model makes of the kept patches.
    """
    split, predicted = data.validation, dict(final.examples)
    rows = example_rows(split.labels)
    pictures = split.images[rows]
    right = final.deployed_validation.correct
    return {
        "split": "validation",
        "patch_drop": patch_drop,
        "columns": round(tickets.validation.shape[1] ** 0.5),
        "images": [
            {
                "picture": picture(pixels),
                "class": _named(data, int(split.labels[row])),
                "predicted": _named(data, predicted[row]) if row in predicted else None,
                "right": bool(right[row]),
                "attention": [float(f"{score:.4g}") for score in scores.validation[row].tolist()],
                "kept": "".join(str(int(keep)) for keep in tickets.validation[row]),
            }
            for row, pixels in zip(rows.tolist(), pictures, strict=True)
        ],
    }


def _named(data: Dataset, label: int) -> dict[str, Any]:
    """A class by its number and its name, which is the number where nobody knows one."""
    known = label < len(data.class_names)
    return {"number": label, "name": str(data.class_names[label]) if known else str(label)}


def picture(pixels: NDArray[np.uint8]) -> str:
    """A small picture as a data address.

    Args:
        pixels: uint8 (C, H, W); one channel is grey, of several the first three count.
    """
    shown = pixels.transpose(1, 2, 0)[:, :, : 1 if len(pixels) < 3 else 3]
    image = Image.fromarray(np.ascontiguousarray(shown.squeeze(-1) if len(pixels) < 3 else shown))
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    kind, options = ("png", {}) if max(image.size) <= SMALL_PX else ("jpeg", {"quality": 85})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
