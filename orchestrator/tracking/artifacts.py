"""Artifacts of finished trials, read back from MLflow a few at a time.

Only what a table or a comparison names is fetched: a sweep may have ten thousand trials.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.secrets import redacted
from orchestrator.tracking.tracker import Tracker, patiently
from trials.errors import FormatError
from trials.formats import load_packed_mask

OUTCOMES = "outcomes/correct.safetensors"

T = TypeVar("T")


@contextmanager
def fetched(tracker: Tracker, run_id: str, path: str) -> Iterator[Path | None]:
    """A local copy of an artifact, gone afterwards; None when the run has none of that name."""
    folder = str(Path(path).parent)
    names = {f.path for f in patiently(lambda: tracker.client.list_artifacts(run_id, folder))}
    if path not in names:
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        yield Path(patiently(lambda: tracker.client.download_artifacts(run_id, path, place)))


def remove(tracker: Tracker, run_id: str, paths: Sequence[str]) -> None:
    """Take artifacts away, as far as the place where they are allows it."""
    if not paths:
        return
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    where = tracker.ask(lambda: tracker.client.get_run(run_id)).info.artifact_uri
    try:
        place = get_artifact_repository(where, tracking_uri=tracker.address.uri)
        for path in paths:
            patiently(lambda path=path: place.delete_artifacts(path))  # type: ignore[misc]
    except (MlflowException, NotImplementedError, OSError) as error:
        warnings.warn(
            f"{len(paths)} artifacts of an earlier report could not be removed from run {run_id}: "
            f"{redacted(str(error))[:200]}",
            stacklevel=2,
        )


def read_each(
    tracker: Tracker, run_ids: Sequence[str], path: str, load: Callable[[Path], T]
) -> Iterator[tuple[str, T | FormatError]]:
    """Run id and content, one at a time, of the runs that have the artifact.

    A damaged one gives its error instead: one bad file must not cost the report.
    """
    for run_id in run_ids:
        with fetched(tracker, run_id, path) as local:
            if local is None:
                continue
            try:
                content: T | FormatError = load(local)
            except FormatError as error:
                content = error
        yield run_id, content


def outcomes_of(
    tracker: Tracker, table: pd.DataFrame, keys: Sequence[str]
) -> tuple[dict[str, dict[str, NDArray[np.bool_]]], list[str]]:
    """Which images the models of some trials get right.

    Args:
        table: of `trials_table`.
        keys: trials wanted.

    Returns:
        Trial key -> name (`final.test`, `issp.validation`, ...) -> bool (images,), for the
        trials that have the artifact; and a sentence for each damaged one.
    """
    wanted = table[table["key"].isin(set(keys))]
    names = dict(zip(wanted["run_id"], wanted["key"], strict=True))
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    damaged: list[str] = []
    for run_id, content in read_each(tracker, list(names), OUTCOMES, load_packed_mask):
        if isinstance(content, FormatError):
            damaged.append(
                f"{OUTCOMES} of run {run_id} cannot be read and enters no comparison: remove the "
                "run in MLflow and run the sweep again to have it written again."
            )
        else:
            found[names[run_id]] = {
                name: np.unpackbits(bits, count=images, bitorder="little").astype(bool)
                for name, (bits, images) in content.items()
            }
    return found, damaged
