"""A table of trials as rows of plain values, and which rows share a dense model."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.vocabulary import Metric
from trials.sparsity.detect import ROUNDING

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

TIE = ROUNDING

PLAIN = frozenset([str, int, bool, type(None)])
"""Types whose values are JSON-ready as they are."""


def missing_column(results: "pd.DataFrame", column: str, question: str) -> ValueError:
    """The error for a table without a needed column."""
    have = ", ".join(sorted(map(str, results.columns))) or "none"
    return ValueError(
        f"results: no column `{column}`, which {question} needs (columns: {have}). "
        "Pass the table that orchestrator.results(sweep) gives, or add the column."
    )


def rows(table: "pd.DataFrame", columns: Iterable[str]) -> list[Row]:
    """Rows of a table as dicts of Python scalars; None for NaN and for absent columns."""
    wanted = list(dict.fromkeys(columns))
    data = [
        [plain(v) for v in table[c].tolist()] if c in table else [None] * len(table) for c in wanted
    ]
    return [dict(zip(wanted, values, strict=True)) for values in zip(*data, strict=True)]


def plain(value: Any) -> Any:
    """A JSON-ready value: NumPy scalars to Python's, NaN, infinities and NaT to None."""
    if type(value) in PLAIN:  # nearly all of a large table
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    import pandas as pd  # half a second, which a plan does not spend

    return None if value is pd.NA or value is pd.NaT else value


def average(group: Sequence[Row], columns: Iterable[str]) -> Row:
    """The mean of the measured values of each column, None when there are none."""
    out: Row = {}
    for column in columns:
        values = [float(r[column]) for r in group if r.get(column) is not None]
        out[column] = math.fsum(values) / len(values) if values else None
    return out


def mean(group: Sequence[Row], column: str) -> float | None:
    """The mean of the measured values of one column, None when there are none."""
    value: float | None = average(group, [column])[column]
    return value


def fewest(group: Iterable[Row], column: str) -> float | None:
    """The smallest known value of one column, such as a count of images."""
    return min((float(r[column]) for r in group if r.get(column) is not None), default=None)


def axis_value(row: Row, axis: str) -> Any:
    """A trial's value on an axis: `auto` if it finds its own sparsity.

    Such trials form one setting although their levels differ.
    """
    return "auto" if axis == "sparsity" and row["auto_sparsity"] else row[axis]


def grouped(table: Iterable[Row], identity: Callable[[Row], Hashable]) -> list[list[Row]]:
    """Rows grouped by identity, in order of first appearance."""
    groups: dict[Hashable, list[Row]] = {}
    for row in table:
        groups.setdefault(identity(row), []).append(row)
    return list(groups.values())


def distinct(table: Iterable[Row], identity: Callable[[Row], Hashable]) -> list[Row]:
    """The first row of each identity."""
    return [group[0] for group in grouped(table, identity)]


def dense_identity(row: Row) -> Hashable:
    """The dense model of a row: `stage.dense`, else its seed, else the row itself."""
    if row["stage.dense"] is not None:
        return ("stage", row["stage.dense"])
    return ("seed", row["seed"]) if row["seed"] is not None else ("row", id(row))


def dense_models(trials: Iterable[Row]) -> list[Row]:
    """One row for each dense model with a validation accuracy."""
    return distinct((r for r in trials if r[Metric.DENSE_VAL_ACCURACY] is not None), dense_identity)
