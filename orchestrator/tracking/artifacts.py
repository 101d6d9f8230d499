"""Artifacts of finished trials, read back from MLflow a few at a time.

Only what a table or a comparison names is fetched: a sweep may have ten thousand trials.
"""

import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.secrets import redacted, without_password
from orchestrator.tracking.patience import TrackingAway, patiently, reason_of, refusals
from orchestrator.tracking.places import local
from orchestrator.tracking.runs import File, Run
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Artifact, Tag
from trials.errors import FormatError, LotusError
from trials.formats import PackedMask, load_packed_mask

T = TypeVar("T")


LIMITS = {f"{Artifact.CHECKPOINTS}/": 32 * 2**30, f"{Artifact.MASKS}/": 2**30}
"""Largest artifact that is read, in bytes, by folder: enough for a mask of 2^33 weights."""

LIMIT = 128 * 2**20
"""Largest other artifact: enough for the outcomes on a billion images."""

LISTED = 20
"""How many runs are checked for artifacts when each check takes a request."""


class ArtifactError(LotusError):
    """An artifact that cannot be read."""


class ArtifactsGone(ArtifactError):  # noqa: N818 - named for what it is
    """The artifacts of a finished run are missing from where MLflow expects them."""


class ArtifactTooLarge(ArtifactError):  # noqa: N818
    """An artifact is larger than the limit for its kind."""


@contextmanager
def fetched(tracker: Tracker, run_id: str, path: str) -> Iterator[Path | None]:
    """An artifact as a local file, to be read only; None if the run has none of that name.

    It is the artifact itself where that lies on this machine, and else a temporary copy.

    Raises:
        ArtifactsGone: the run finished but has no artifacts at all.
        ArtifactTooLarge: the artifact exceeds its limit.
    """
    limit = next((LIMITS[kind] for kind in LIMITS if path.startswith(kind)), LIMIT)
    run = tracker.ask(lambda: tracker.client.get_run(run_id))
    address = run.info.artifact_uri
    near = local(tracker.client.resolved_address(address))
    if near is not None and (size := _size(near / path)) is not None:
        _refuse_larger(path, run_id, size, limit)
        yield near / path
        return
    folder = str(Path(path).parent)
    sizes = {file.path: file.file_size for file in listed(tracker, run_id, folder)}
    if path not in sizes:
        if _has_artifacts(run) and not listed(tracker, run_id):
            raise ArtifactsGone(gone_at(address))
        yield None
        return
    _refuse_larger(path, run_id, sizes[path] or 0, limit)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(_asked(tracker, run_id, lambda: _download(tracker, run, path, place, limit)))
        _refuse_larger(path, run_id, copy.stat().st_size, limit)
        yield copy


def _size(path: Path) -> int | None:
    """Bytes of a file; None where there is none that can be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def listed(tracker: Tracker, run_id: str, folder: str | None = None) -> list[File]:
    """The contents of a folder among a run's artifacts.

    Raises:
        ArtifactsGone: the place where they should be cannot be reached.
    """
    return list(_asked(tracker, run_id, lambda: tracker.client.list_artifacts(run_id, folder)))


def gone(tracker: Tracker, runs: Sequence[Run]) -> str:
    """A sentence on finished runs whose artifacts are missing; "" if there are none.

    Runs with artifacts on this machine are all checked, of the others only `LISTED`.
    """
    finished = [run for run in runs if _has_artifacts(run) and not _superseded(run)]
    near = [run for run in finished if local(run.info.artifact_uri)]
    far = [run for run in finished if not local(run.info.artifact_uri)]
    asked = far[:: -(-len(far) // LISTED) or 1]
    lost = [
        gone_at(run.info.artifact_uri)
        for run in near
        if not _has_content(local(tracker.client.resolved_address(run.info.artifact_uri)))
    ]
    for run in asked:
        try:
            if not listed(tracker, run.info.run_id):
                lost.append(gone_at(run.info.artifact_uri))
        except ArtifactsGone as error:
            lost.append(str(error))
    if not lost:
        return ""
    seen = f"{len(near) + len(asked)} finished trials" + " that were looked at" * (asked != far)
    return f"The artifacts of {len(lost)} of {seen} are missing: {lost[0]}"


def _superseded(run: Run) -> bool:
    return run.data.tags.get(Tag.SUPERSEDED) == "true"


def _has_content(folder: Path | None) -> bool:
    try:
        return folder is not None and any(folder.iterdir())
    except OSError:
        return False


def gone_at(address: str) -> str:
    """What to do about artifacts that are not at an address."""
    shown = without_password(address)
    if local(address) is not None:
        where = (
            f"{shown}, where the database says, nor beside it. If their folder was moved, put it "
            "beside the database"
        )
        return f"they are not at {where}. If they are lost, {AGAIN}"
    return (
        f"they are not at {shown}. Restore that place (a bucket, the folder of a server). If "
        f"they are lost, {AGAIN}"
    )


AGAIN = "`lotus doctor SWEEP --repair` writes them again from the store"


def _has_artifacts(run: Run) -> bool:
    """Whether a run must have artifacts: every finished trial writes its configuration."""
    return run.info.status == "FINISHED" and run.data.tags.get(Tag.KIND) == "trial"


def _asked(tracker: Tracker, run_id: str, call: Callable[[], T]) -> T:
    """Ask for artifacts, distinguishing a missing place from a store that is away."""
    try:
        return patiently(call, tracker.artifacts)
    except TrackingAway as error:
        if not tracker.answers():
            raise
        raise ArtifactsGone(_silent(tracker, run_id, error)) from error
    except ArtifactError:
        raise
    except Exception as error:  # of MLflow or the storage library, as for a deleted bucket
        raise ArtifactsGone(_silent(tracker, run_id, error)) from error


def _silent(tracker: Tracker, run_id: str, error: Exception) -> str:
    address = tracker.ask(lambda: tracker.client.get_run(run_id)).info.artifact_uri
    return f"{gone_at(address)}. MLflow answers, but that place does not: {reason_of(error)}"


def _download(tracker: Tracker, run: Run, path: str, place: str, limit: int) -> str:
    """Fetch a file, and stop at the limit if a server sends more than announced."""
    run_id, address = run.info.run_id, run.info.artifact_uri
    if limit > max(LIMIT, LIMITS[f"{Artifact.MASKS}/"]) or local(address) is not None:
        return tracker.client.download_artifacts(run_id, path, place)

    def check(size: int) -> None:
        _refuse_larger(path, run_id, size, limit)

    return tracker.client.stream_artifact(run_id, path, place, check, address)


def _refuse_larger(path: str, run_id: str, size: int, limit: int) -> None:
    if size > limit:
        raise ArtifactTooLarge(
            f"{path} of run {run_id} has {size:,} bytes or more, above the limit of {limit:,} "
            "bytes for such a file: remove it in MLflow if lotus-sweep has not written it"
        )


def remove(tracker: Tracker, run_id: str, paths: Sequence[str]) -> None:
    """Delete artifacts, as far as their storage allows it."""
    if not paths:
        return
    where = tracker.ask(lambda: tracker.client.get_run(run_id)).info.artifact_uri
    try:
        for path in paths:
            patiently(partial(tracker.client.delete_artifacts, run_id, path, where))
    except refusals() as error:
        warnings.warn(
            f"{len(paths)} artifacts of an earlier report could not be removed from run {run_id}: "
            f"{redacted(str(error))[:200]}",
            stacklevel=2,
        )


def read_each(
    tracker: Tracker, run_ids: Sequence[str], path: str, load: Callable[[Path], T]
) -> Iterator[tuple[str, T | FormatError | ArtifactError]]:
    """Run id and content, one at a time, for the runs that have the artifact.

    A file that cannot be read yields its error instead: it must not cost the whole report.
    """
    for run_id in run_ids:
        try:
            with fetched(tracker, run_id, path) as copy:
                if copy is None:
                    continue
                content: T | FormatError | ArtifactError = load(copy)
        except (FormatError, ArtifactError) as error:
            content = error
        yield run_id, content


def outcomes_of(
    tracker: Tracker, table: pd.DataFrame, keys: Sequence[str]
) -> tuple[dict[str, dict[str, NDArray[np.bool_]]], list[str]]:
    """Which images the models of some trials get right.

    Args:
        table: from `trials_table`.
        keys: of the wanted trials.

    Returns:
        Trial key -> name (`final.test`, `issp.validation`, ...) -> bool (images,), for the
        trials that have the artifact; and sentences on missing and unreadable ones.
    """
    wanted = table[table["key"].isin(set(keys))]
    keys_by_run = dict(zip(wanted["run_id"], wanted["key"], strict=True))
    outcomes: dict[str, dict[str, NDArray[np.bool_]]] = {}
    problems: list[str] = []
    missing = set(keys_by_run)
    for run_id, content in read_each(
        tracker, list(keys_by_run), Artifact.OUTCOMES, load_packed_mask
    ):
        missing.discard(run_id)
        if isinstance(content, ArtifactError):
            if not isinstance(content, ArtifactsGone):  # `gone` reports those together
                problems.append(f"{content}. It enters no comparison.")
        elif isinstance(content, FormatError):
            problems.append(
                f"{Artifact.OUTCOMES} of run {run_id} cannot be read and enters no comparison: "
                "delete the run in MLflow and run the sweep again, which writes it again."
            )
        else:
            outcomes[keys_by_run[run_id]] = _unpacked(content)
    if missing:
        problems.append(
            f"{Artifact.OUTCOMES} is missing from the artifacts of {len(missing)} of "
            f"{len(keys_by_run)} compared trials, so they enter no comparison by image. {AGAIN}."
        )
    return outcomes, problems


def _unpacked(content: PackedMask) -> dict[str, NDArray[np.bool_]]:
    return {
        name: np.unpackbits(bits, count=images, bitorder="little").astype(bool)
        for name, (bits, images) in content.items()
    }
