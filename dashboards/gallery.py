"""The gallery of tickets: a few images, what a model attends to, keeps of them and sees in them.

It is drawn in the page from what trials have recorded (`tickets/gallery.json`): small pictures, and
patches as shapes of SVG. What is recorded may come from anywhere, so every field is looked at.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.text import clean, level, number

MOST_IMAGES, MOST_DROPS = 8, 4
STEPS = 7
"""Colours from little to much attention, as `report.css` has them."""

_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]{1,200000}")
_MOST_PATCHES = 4_096


@dataclass(frozen=True, slots=True)
class Ticket:
    """An image as one trial's model sees it.

    Attributes:
        drop: fraction of the patches removed, in words.
        dropped: the removed patches, as an SVG path on a grid of unit squares.
        kept: how many are not removed.
        says: what the model sees in it, in words; right: whether that is its class.
    """

    drop: str
    dropped: str
    kept: int
    says: str
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One image of the gallery.

    Attributes:
        picture: a data address.
        name: its class.
        rows, columns: of its patches.
        attention: step of colour -> SVG path; empty where no patch was scored.
        most: how often the average patch is exceeded by the most attended one, in words.
    """

    picture: str
    name: str
    rows: int
    columns: int
    attention: dict[int, str]
    most: str
    tickets: tuple[Ticket, ...]


def examples(recorded: Iterable[Any]) -> list[Example]:
    """The images that all recordings have, each with a ticket of every recording.

    Args:
        recorded: contents of `tickets/gallery.json`, one for each patch drop. What is not such a
            content is left out, and so are images of which another recording has another picture.
    """
    known = sorted(filter(_sound, recorded), key=lambda one: float(one["patch_drop"]))
    chosen = known[:MOST_DROPS]
    found = []
    for images in zip(*(one["images"][:MOST_IMAGES] for one in chosen), strict=False):
        first = images[0]
        if all(image["picture"] == first["picture"] for image in images):
            columns = int(chosen[0]["columns"])
            scores = [number(score) for score in first["attention"]]
            tickets = tuple(_ticket(*pair) for pair in zip(chosen, images, strict=True))
            found.append(
                Example(
                    first["picture"],
                    _name(first["class"]),
                    math.ceil(len(first["kept"]) / columns),
                    columns,
                    attention(scores, columns),
                    _most(scores),
                    tickets,
                )
            )
    return found


def attention(scores: Sequence[float | None], columns: int) -> dict[int, str]:
    """Patches by how much is attended to them, from 0 (least) to STEPS - 1, as SVG paths."""
    if not scores or any(score is None for score in scores):
        return {}
    values = [float(score or 0.0) for score in scores]
    low, high = min(values), max(values)
    steps: dict[int, list[int]] = {}
    for patch, value in enumerate(values):
        part = (value - low) / (high - low) if high > low else 0.0
        steps.setdefault(min(int(part * STEPS), STEPS - 1), []).append(patch)
    return {step: path(patches, columns) for step, patches in sorted(steps.items())}


def path(patches: Iterable[int], columns: int) -> str:
    """Unit squares on a grid, as the data of an SVG path; neighbours in a row become one."""
    parts: list[list[int]] = []  # row, column, width
    for row, column in (divmod(patch, columns) for patch in patches):
        if parts and parts[-1][0] == row and parts[-1][1] + parts[-1][2] == column:
            parts[-1][2] += 1
        else:
            parts.append([row, column, 1])
    return "".join(f"M{column} {row}h{width}v1h-{width}z" for row, column, width in parts)


def _ticket(one: dict[str, Any], image: dict[str, Any]) -> Ticket:
    dropped = [i for i, keep in enumerate(image["kept"]) if keep == "0"]
    right = bool(image.get("right"))
    said = image.get("predicted")
    if isinstance(said, dict):
        says = f"predicted {_name(said)}"
    else:
        says = "recognised" if right else "not recognised"
    return Ticket(
        drop=level(one["patch_drop"]),
        dropped=path(dropped, int(one["columns"])),
        kept=len(image["kept"]) - len(dropped),
        says=says,
        right=right,
    )


def _most(scores: Sequence[float | None]) -> str:
    known = [score for score in scores if score is not None]
    mean = sum(known) / len(known) if known else 0.0
    return f"{max(known) / mean:.1f}" if mean > 0 else ""


def _name(named: dict[str, Any]) -> str:
    return clean(named.get("name"), 60) or clean(named.get("number"), 20) or "unnamed"


def _sound(one: Any) -> bool:
    """Whether it can be drawn."""
    if not isinstance(one, dict) or not isinstance(one.get("images"), list):
        return False
    columns, drop = number(one.get("columns")), number(one.get("patch_drop"))
    whole = columns is not None and columns == int(columns) and 1 <= columns <= _MOST_PATCHES
    return whole and drop is not None and all(map(_is_image, one["images"]))


def _is_image(image: Any) -> bool:
    if not isinstance(image, dict) or not isinstance(image.get("class"), dict):
        return False
    picture, kept, scores = (image.get(name) for name in ("picture", "kept", "attention"))
    return (
        isinstance(picture, str)
        and _PICTURE.fullmatch(picture) is not None
        and isinstance(kept, str)
        and 0 < len(kept) <= _MOST_PATCHES
        and set(kept) <= {"0", "1"}
        and isinstance(scores, list)
        and len(scores) in (0, len(kept))
    )
