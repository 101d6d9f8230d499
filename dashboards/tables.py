"""Tables, their cells, and columns of the table of trials, which may be missing."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dashboards.text import DASH, clean, level, number

AXES = ("sparsity", "patch_drop", "mask_data_fraction")
AXIS_HEADS = ("One-shot level", "Patch drop", "Mask data")

_STEP_PX = 20


_TEXT_PX, _HEAD_PX, _PADDING_PX = 8.1, 8.8, 10.5
_LEAST_PX = {"name": 144.0, "error": 224.0, "key": 116.0}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the number to sort by (None: by text), and its style."""

    text: str
    value: float | None = None
    kind: str = ""  # "num" | "name" | "key" | "status" | "error"
    more: str = ""  # the whole text, when `text` is only its start


@dataclass(frozen=True, slots=True)
class Table:
    """Column heads and rows of cells, all of the same length.

    Attributes:
        lines: number of the line of `settings_lines` for each row, 0 = none; empty = none has one.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lines: tuple[int, ...] = ()

    @property
    def least_px(self) -> int:
        """Width in CSS pixels below which each row becomes a list, in steps of 20.

        Estimated from the longest word of each column, so that no column is ever cut.
        """
        columns = [
            max([_longest(head) * _HEAD_PX, *(_cell_px(row[i]) for row in self.rows)])
            for i, head in enumerate(self.heads)
        ]
        wanted = sum(columns) + _PADDING_PX * len(columns)
        return math.ceil(wanted / _STEP_PX) * _STEP_PX


def _cell_px(cell: Cell) -> float:
    """The least width of a cell; names, errors and keys are broken anywhere."""
    if cell.kind in _LEAST_PX:
        return _LEAST_PX[cell.kind]
    return _longest(cell.text) * _TEXT_PX


def _longest(text: str) -> int:
    """Characters of the longest part that is not broken."""
    return max((len(part) for part in re.split(r"[ \n\t-]", text)), default=0)


def axis_cells(setting: dict[str, Any]) -> list[Cell]:
    """One cell per axis; a dash if the arm does not use it."""
    return [num(level(setting.get(axis)), setting.get(axis)) for axis in AXES]


def num(text: str, value: Any = None) -> Cell:
    """A cell with a number, and the value to sort by."""
    return Cell(text, number(value), "num")


def values(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """The data of a figure: text, and numbers with four digits (all of them in its CSV)."""
    return Table(tuple(heads), tuple(tuple(_value(cell) for cell in row) for row in rows))


def _value(cell: Any) -> Cell:
    x = None if isinstance(cell, str | bool) else number(cell)
    if x is None:
        return Cell(DASH if cell is None else clean(cell, 300))
    return num(f"{x:,.0f}" if x == round(x) and abs(x) >= 1_000 else f"{x:.4g}", x)


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
