"""An earlier state of a sweep, from the folder of a report that was kept."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.reading.tables import NUMBERS, with_columns
from trials.arms import BASE_AXES
from trials.errors import LotusError

SUMMARY, TRIALS = "summary.json", "trials.csv"

_TEXT = ("run_id", "key", "name", "arm", "status", "error", "versions")
_ARMED = re.compile(r"^'(?=[=+\-@\t\n])")
"""An apostrophe that `dashboards.files.disarm` has put before what looks like a formula."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A state that was kept.

    Attributes:
        table: of its trials, as `tables.trials_table`; empty where `trials.csv` is missing.
        problems: what is missing, a sentence each.
    """

    summary: dict[str, Any]
    table: pd.DataFrame
    problems: tuple[str, ...] = ()

    @property
    def axes(self) -> list[str]:
        """Its axes beyond those of LOTUS."""
        names = [axis for row in self.summary.get("tried") or [] for axis in row["setting"]]
        return [axis for axis in dict.fromkeys(names) if axis not in BASE_AXES]


def is_earlier(text: str) -> bool:
    """Whether an argument names a kept report, and not a sweep file or a bundled sweep."""
    path = Path(text)
    return path.suffix == ".json" or (path / SUMMARY).is_file()


def read_earlier(path: Path) -> Earlier:
    """Read a report's folder, or the `summary.json` in it.

    Raises:
        LotusError: there is none, or it is not a report.
    """
    summary_path = path / SUMMARY if path.is_dir() else path
    try:
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LotusError(f"{summary_path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        summary = None
    if not isinstance(summary, dict) or "trials" not in summary:
        raise LotusError(
            f"{summary_path} is not the summary of a report: name a folder that `lotus report` "
            "or `lotus run` has written, or the summary.json in it"
        )
    trials_path = summary_path.with_name(TRIALS)
    try:
        return Earlier(summary, _table(trials_path))
    except (OSError, ValueError):
        lost = f"{trials_path} is missing or damaged: answers and numbers are compared, and no "
        return Earlier(summary, with_columns(pd.DataFrame()), (f"{lost}single setting.",))


def _table(path: Path) -> pd.DataFrame:
    """Raises OSError or ValueError (of pandas too) where it is no table of trials."""
    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "object"), low_memory=False)
    if "key" not in table or "arm" not in table:
        raise ValueError(f"{path}: no table of trials")
    for column in table.columns[table.dtypes.map(pd.api.types.is_object_dtype)]:
        table[column] = table[column].map(_plain)
    for column in NUMBERS:
        if column in table:
            table[column] = pd.to_numeric(table[column], errors="coerce")
    return with_columns(table)


def _plain(cell: Any) -> Any:
    if isinstance(cell, str):
        return _ARMED.sub("", cell)
    return cell if isinstance(cell, bool) else None
