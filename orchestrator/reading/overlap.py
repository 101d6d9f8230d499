"""The overlap of a sweep's masks, read from the tracking store."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from orchestrator.selection.overlap import Mask, chosen_runs, mask_families, summarised
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
        `groups` and `layers`, see `summarised`.
    """
    families = mask_families(table, axes)
    return summarised(table, families, _read(tracker, chosen_runs(families)))


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
