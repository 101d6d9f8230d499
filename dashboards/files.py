"""The files of a report: written completely or not at all, and safe to open in a spreadsheet."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dashboards.data import Picture
from dashboards.text import number

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PICTURES = 4
LIST = "files.json"
"""A report's list of the files that it has written."""

ALWAYS = frozenset({"report.html", "summary.json", "trials.csv", LIST})

OLDER_FIGURES = (
    "essential_sparsity",
    "finetune",
    "issp_by_fraction",
    "diagnosis_effects",
    "diagnosis_sparsity",
    "mask_overlap",
    "arms",
    "cost",
    "pareto",
    "halving",
)
"""Figures of early reports, which wrote no list."""

_OLDER = re.compile(rf"figures/({'|'.join(OLDER_FIGURES)}|tickets_d[0-9.]+)\.png")
_PLAIN = re.compile(r"(figures/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def listing(names: Iterable[str]) -> bytes:
    """The content of `files.json`."""
    return (json.dumps({"files": sorted({*names, *ALWAYS})}, indent=1) + "\n").encode()


def below(folder: Path) -> set[str]:
    """The files in a report's folder and in its `figures`, as relative paths."""
    paths = (path for place in (folder, folder / "figures") for path in place.glob("*"))
    return {path.relative_to(folder).as_posix() for path in paths if path.is_file()}


def written_before(listed: Path | None, present: set[str]) -> set[str]:
    """Those of the present files that a report wrote.

    Args:
        listed: its `files.json`. If that is missing or cannot be read, figures are recognised by
            the names in early reports.
    """
    try:
        names = json.loads(listed.read_text(encoding="utf-8"))["files"] if listed else []
        listed_names = {name for name in names if isinstance(name, str) and _PLAIN.fullmatch(name)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        listed_names = set()
    return present & (listed_names | {name for name in present if _OLDER.fullmatch(name)} | ALWAYS)


def disarm(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would run as a formula; numbers stay.

    A lone carriage return, as from progress bars, would end the row, so it becomes a newline.
    """
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    return "'" + text if text.startswith(_FORMULA) and number(text) is None else text


def trials_csv(trials: pd.DataFrame) -> bytes:
    """The table as CSV (UTF-8), with floats in full precision."""
    safe = trials.copy()
    for column in safe.columns[safe.dtypes.map(lambda d: not pd.api.types.is_numeric_dtype(d))]:
        safe[column] = safe[column].map(disarm)
    safe.columns = pd.Index([disarm(c) for c in safe.columns])
    return safe.to_csv(index=False, lineterminator="\n").encode("utf-8", "replace")


def chosen_pictures(pictures: tuple[Picture, ...]) -> list[Picture]:
    """At most MOST_PICTURES valid PNGs with distinct patch drops, evenly spread, ascending."""
    by_drop: dict[float, Picture] = {}
    for picture in pictures:
        drop = number(picture.patch_drop)
        if drop is not None and picture.png.startswith(PNG_SIGNATURE):
            by_drop.setdefault(round(drop, 4), picture)
    # A picture without dropped patches is useless beside others.
    drops = sorted(d for d in by_drop if d > 0) or sorted(by_drop)
    if len(drops) > MOST_PICTURES:
        last = len(drops) - 1
        drops = [drops[round(i * last / (MOST_PICTURES - 1))] for i in range(MOST_PICTURES)]
    return [by_drop[d] for d in drops]


def picture_name(picture: Picture) -> str:
    """File name without extension, from the number only: a title may contain `../`."""
    return f"tickets_d{round(picture.patch_drop, 4):.6g}"


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header of a PNG."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
