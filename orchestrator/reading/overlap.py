"""The overlap of a sweep's masks, read from the tracking store."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from orchestrator.selection import one_shot_overlap
from orchestrator.selection.overlap import Mask, chosen_runs, mask_families, summarised
from orchestrator.selection.settings import group_settings
from orchestrator.tracking.artifacts import ArtifactError, read_each
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Artifact
from trials.errors import FormatError
from trials.formats import load_packed_mask

MOST_BYTES = 512 * 2**20  # of packed masks in memory: 50 of a ViT-B


def measured(tracker: Tracker, table: pd.DataFrame, axes: Sequence[str]) -> dict[str, Any]:
    """The entry `overlap` of summary.json, from the masks of finished trials.

    Args:
        table: from `trials_table`.
        axes: further axes of the sweep, as columns of the table; equal within every pair.

    Returns:
        `groups` and `layers`, see `summarised`; `one_shot`, see `one_shot_overlap.measured`.
    """
    families = mask_families(table, axes)
    couples = one_shot_overlap.couples(table, group_settings(table, axes))
    beside = [run for couple in couples for run in couple.runs]
    masks = _read(tracker, list(dict.fromkeys([*chosen_runs(families), *beside])))
    once = one_shot_overlap.measured(couples, masks)
    return summarised(table, families, masks) | {"one_shot": once}


def _read(tracker: Tracker, runs: Sequence[str]) -> dict[str, Mask]:
    """Run id -> mask, without damaged ones and those beyond MOST_BYTES."""
    masks: dict[str, Mask] = {}
    size_bytes = 0
    for run, packed in read_each(tracker, runs, Artifact.FINAL_MASK, load_packed_mask):
        if isinstance(packed, FormatError | ArtifactError):
            continue
        mask = Mask.of(packed)
        size_bytes += mask.nbytes
        if size_bytes > MOST_BYTES:
            break
        masks[run] = mask
    return masks
