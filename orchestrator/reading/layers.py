"""The sparsity of each layer, read from the tracking store."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.selection.layers import Layers, summarised, wanted_masks
from orchestrator.tracking.artifacts import ArtifactError, read_each
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Artifact
from trials.errors import FormatError


def measured(
    tracker: Tracker,
    table: pd.DataFrame,
    axes: Sequence[str],
    recommended: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """The entry `layers` of summary.json; see `selection.layers`."""
    wanted = wanted_masks(table, axes, recommended)
    runs = list(dict.fromkeys(run for one in wanted for run in one.runs))
    read = {
        run: content
        for run, content in read_each(tracker, runs, Artifact.LAYERS, _load)
        if not isinstance(content, FormatError | ArtifactError)
    }
    return summarised(wanted, read)


def _load(path: Path) -> Layers:
    """What a trial recorded.

    Raises:
        FormatError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(mask): {str(layer): float(sparsity) for layer, sparsity in layers.items()}
            for mask, layers in found.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: not the sparsity of layers ({error})") from None
