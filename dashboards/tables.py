"""Tables, their cells, and columns of the table of trials, which may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dashboards.text import DASH, level, number

AXES = ("sparsity", "patch_drop", "mask_data_fraction")
AXIS_HEADS = ("One-shot level", "Patch drop", "Mask data")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the number to sort by (None: by text), and its style."""

    text: str
    value: float | None = None
    kind: str = ""  # "num" | "name" | "key" | "status" | "error"
    more: str = ""  # the whole text, when `text` is only its start


@dataclass(frozen=True, slots=True)
class Table:
    """Column heads and rows of cells, all of the same length."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def axis_cells(setting: dict[str, Any]) -> list[Cell]:
    """One cell per axis; a dash if the arm does not use it."""
    return [num(level(setting.get(axis)), setting.get(axis)) for axis in AXES]


def num(text: str, value: Any = None) -> Cell:
    """A cell with a number, and the value to sort by."""
    return Cell(text, number(value), "num")


def table(heads: tuple[str, ...], rows: Sequence[tuple[Cell, ...]]) -> Table:
    """A table without its empty columns."""
    full = [i for i in range(len(heads)) if any(row[i].text not in ("", DASH) for row in rows)]
    return Table(tuple(heads[i] for i in full), tuple(tuple(r[i] for i in full) for r in rows))


def numbers(frame: pd.DataFrame, column: str) -> "pd.Series[float]":
    """A column as floats (N,): NaN for missing values, infinities and text."""
    if column not in frame.columns:
        return pd.Series(np.nan, index=frame.index, dtype=float)
    values = pd.to_numeric(frame[column], errors="coerce").astype(float)
    return values.replace([np.inf, -np.inf], np.nan)


def words(frame: pd.DataFrame, column: str) -> "pd.Series[str]":
    """A column as text (N,): empty for missing values."""
    if column not in frame.columns:
        return pd.Series("", index=frame.index, dtype=object)
    return frame[column].astype(object).where(frame[column].notna(), "").map(str)
