"""Two sweeps beside each other, each read from its tracking store."""

import json
from pathlib import Path
from typing import Any

from dashboards.beside import write_beside
from orchestrator.planning.config import SweepConfig
from orchestrator.reading.content import Read, summarise
from orchestrator.reading.standing import report_folder
from orchestrator.secrets import without_password
from orchestrator.selection import CONFIDENCE
from orchestrator.selection.beside import beside, settings_of, shared_trials
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
            f"{a.name} and {b.name} are one sweep with one run: name two sweeps, or keep an "
            "earlier state under another `name` in its sweep file"
        )
    axes = list(dict.fromkeys([*first.axes, *second.axes]))
    mine, theirs = settings_of(first.table, second.table, axes)
    keys = shared_trials(mine, theirs)
    known = [outcomes_of(r.tracker, r.table, k) for r, k in zip((first, second), keys, strict=True)]
    summaries = summarise(first), summarise(second)
    alike = same_digests(*summaries)
    found = beside(
        mine, theirs, (known[0][0], known[1][0]),
        same_images(a, b) if alike is None else alike, CONFIDENCE,
        max(a.essential.tolerance, b.essential.tolerance),
    )  # fmt: skip
    found |= {"problems": [*known[0][1], *known[1][1]]}
    folder = output or report_folder(a).with_name(f"{report_folder(a).name}-and-{b.name}")
    return write_beside(*summaries, found, folder)


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
