"""Two sweeps beside each other, or two states of one, read from the tracking store."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dashboards.beside import write_beside
from orchestrator.planning.config import SweepConfig
from orchestrator.reading.content import Read, summarise
from orchestrator.reading.earlier import read_earlier
from orchestrator.reading.standing import report_folder
from orchestrator.secrets import without_password
from orchestrator.selection import CONFIDENCE
from orchestrator.selection.beside import beside, settings_of, shared_trials
from orchestrator.selection.pairs import Outcomes
from orchestrator.tracking.artifacts import outcomes_of
from orchestrator.tracking.tracker import Tracker, find_sweep
from trials.errors import LotusError

FIXED_DATA = ("digits", "cifar10")
"""Data sets that hold the same images wherever they lie."""


def report_beside(a: SweepConfig, b: SweepConfig, output: Path | None = None) -> Path:
    """Write the page that shows two sweeps beside each other.

    Args:
        output: a folder. Default: `A-and-B` beside the report of A.

    Returns:
        The path of the page.

    Raises:
        LotusError: one of them has no run, or both are the same run.
    """
    first, second = _read(a), _read(b)
    if first.tracker.address == second.tracker.address:
        raise LotusError(
            f"{a.name} and {b.name} are one sweep with one run: name two sweeps, or the folder of "
            "an earlier report of this one that you have kept"
        )
    summaries = summarise(first), summarise(second)
    sides = _Side(first.table, first.axes, first), _Side(second.table, second.axes, second)
    alike = same_digests(*summaries)
    found = _compared(
        *sides,
        same_images(a, b) if alike is None else alike,
        max(a.essential.tolerance, b.essential.tolerance),
    )
    folder = output or report_folder(a).with_name(f"{report_folder(a).name}-and-{b.name}")
    return write_beside(*summaries, found, folder)


def report_states(sweep: SweepConfig, kept: Path, output: Path | None = None) -> Path:
    """Write the page that shows what has changed in a sweep since a report of it was kept.

    Args:
        kept: the folder of that report, or the `summary.json` in it.
        output: a folder. Default: `NAME-and-earlier` beside the report.

    Returns:
        The path of the page, on which the earlier state comes first.

    Raises:
        LotusError: the sweep has no run, or there is no report.
    """
    earlier, now = read_earlier(kept), _read(sweep)
    summary = summarise(now)
    alike = same_digests(earlier.summary, summary)
    before = _Side(earlier.table, earlier.axes, now)  # its runs are among those of the sweep
    tolerance = sweep.essential.resolved().tolerance
    found = _compared(before, _Side(now.table, now.axes, now), bool(alike), tolerance)
    found["problems"] = [*earlier.problems, *found["problems"]]
    if alike is None:
        found["problems"].append(
            "The kept report does not say which data it is about (it is of an earlier version), "
            "so no difference is given."
        )
    same = earlier.summary.get("sweep") == summary["sweep"]
    labels = (f"{summary['sweep']}, earlier", f"{summary['sweep']}, now") if same else None
    folder = output or report_folder(sweep).with_name(f"{report_folder(sweep).name}-and-earlier")
    return write_beside(earlier.summary, summary, found, folder, labels)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two things that are compared.

    Attributes:
        read: the sweep whose runs hold its outcomes.
    """

    table: pd.DataFrame
    axes: Sequence[str]
    read: Read

    def outcomes(self, keys: Sequence[str]) -> tuple[Outcomes, list[str]]:
        """Which images its trials get right, and what cannot be read; see `outcomes_of`."""
        there = self.table[self.table["run_id"].isin(self.read.run_ids)]
        return outcomes_of(self.read.tracker, there, keys)


def _compared(a: _Side, b: _Side, same: bool, tolerance: float) -> dict[str, Any]:
    """The content of beside.json, summaries apart."""
    axes = list(dict.fromkeys([*a.axes, *b.axes]))
    mine, theirs = settings_of(a.table, b.table, axes)
    known = [
        side.outcomes(keys) for side, keys in zip((a, b), shared_trials(mine, theirs), strict=True)
    ]
    outcomes = known[0][0], known[1][0]
    found = beside(mine, theirs, outcomes, same, CONFIDENCE, tolerance)
    return found | {"problems": [*known[0][1], *known[1][1]]}


def _read(sweep: SweepConfig) -> Read:
    address = find_sweep(sweep)
    if address is None:
        raise LotusError(
            f"{sweep.name} has no run in {without_password(sweep.tracking.uri)}: run it first"
        )
    return Read.of(sweep, Tracker(address))


def same_digests(a: dict[str, Any], b: dict[str, Any]) -> bool | None:
    """Whether two summaries name the same data by their digests; None if one names none."""
    mine, theirs = ({d.get("digest") for d in s.get("data") or []} for s in (a, b))
    return mine == theirs if mine and theirs else None


def same_images(a: SweepConfig, b: SweepConfig) -> bool:
    """Whether two sweeps are tested on the same images: their `data` sections say the same."""
    return _images(a) == _images(b)


def _images(sweep: SweepConfig) -> str:
    data: dict[str, Any] = sweep.data.model_dump(mode="json")
    if data.get("name") in FIXED_DATA:
        data.pop("root", None)
    return json.dumps(data, sort_keys=True)
