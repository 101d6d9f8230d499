"""What the report shows of tickets, read from the artifacts of a few trials."""

import contextlib
import json
from typing import Any

import pandas as pd

from dashboards import Picture
from orchestrator.tracking.artifacts import ArtifactError, fetched
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Artifact
from trials.arms import CONTROLS, LOTUS, SEED_SYSTEMS, TICKETED

MOST = 4
"""Patch drops."""

_MOST_BYTES = 8 * 2**20  # of one recording


def shown_trials(table: pd.DataFrame) -> pd.DataFrame:
    """A trial for each patch drop, the smallest first, all of one arm and seed where there is one.

    Args:
        table: from `trials_table`.
    """
    full = (table["status"] == "FINISHED") & table["rung"].isna()
    ticketed = table[full & table["patch_drop"].gt(0) & table["arm"].isin(TICKETED)]
    apart = {*CONTROLS, *SEED_SYSTEMS}
    rank = ticketed["arm"].map(lambda arm: (arm != LOTUS) + 2 * (arm in apart))
    ordered = ticketed.assign(_rank=rank).sort_values(["_rank", "seed"], kind="stable")
    first = ordered.drop_duplicates("patch_drop").sort_values("patch_drop", kind="stable")
    return first.drop(columns="_rank")[:MOST]


def pictures(tracker: Tracker, table: pd.DataFrame) -> tuple[Picture, ...]:
    """One picture of example tickets for each patch drop."""
    found = []
    for trial in shown_trials(table).to_dict("records"):
        content = _artifact(tracker, trial["run_id"], Artifact.TICKET_EXAMPLES)
        if content is not None:
            drop = float(trial["patch_drop"])
            found.append(Picture(title=trial["name"], patch_drop=drop, png=content))
    return tuple(found)


def recorded(tracker: Tracker, table: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    """What trials have recorded for the gallery; nothing of trials of earlier versions."""
    found = []
    for trial in shown_trials(table).to_dict("records"):
        content = _artifact(tracker, trial["run_id"], Artifact.TICKET_GALLERY)
        if content is not None and len(content) <= _MOST_BYTES:
            with contextlib.suppress(ValueError, RecursionError):  # damaged: there is none
                found.append(json.loads(content))
    return tuple(one for one in found if isinstance(one, dict))


def _artifact(tracker: Tracker, run_id: str, path: str) -> bytes | None:
    """A small artifact; None if it does not exist or cannot be read."""
    with contextlib.suppress(ArtifactError), fetched(tracker, run_id, path) as local:  # see `gone`
        return local.read_bytes() if local else None
    return None
