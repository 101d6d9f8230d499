"""MLflow compared with the store, run by run, and mended. Nothing is trained for it.

What a run should hold is not kept anywhere: it is what a worker writes when all of a trial's
stages come from the store, so that is done once more, into a recorder instead of MLflow.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from orchestrator.driver.state import State, look
from orchestrator.planning.config import SweepConfig
from orchestrator.secrets import redacted
from orchestrator.tracking.artifacts import ArtifactError, fetched
from orchestrator.tracking.histories import History, with_histories
from orchestrator.tracking.lease import TAG, Holder, Lease, LeaseError, RunTag
from orchestrator.tracking.pending import Note, Pending
from orchestrator.tracking.reconcile import reconcile
from orchestrator.tracking.runlog import PARAM_CHARACTERS, TAG_CHARACTERS, RunLog, same
from orchestrator.tracking.tracker import Tracker
from orchestrator.worker.cached import Cached
from orchestrator.worker.job import Job, job_of
from orchestrator.worker.worker import Worker, run_stage, run_trial
from trials.errors import FormatError, LotusError
from trials.formats import digest_of, header_of
from trials.stage import Node

TIMED = ("time/", "cache/")
"""Metrics whose value depends on when and for whom a stage was computed; only their presence."""

SHOWN = 3


class NotStored(LotusError):  # noqa: N818 - named for what it is
    """The store has not got all results that a run is made of."""


@dataclass(slots=True)
class Findings:
    """What was compared, and what was found or done, a line each.

    Attributes:
        wrong: what does not agree, or did not until it was mended.
        said: what could not be compared.
    """

    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def examine(sweep: SweepConfig, mend: bool) -> Findings:
    """Compare a sweep's runs with the store.

    Args:
        mend: mend what does not agree; needs the sweep's lease.
    """
    state = look(sweep)
    if state is None:
        return Findings()
    tracker = state.tracker
    if not mend:
        holder = Holder.of_text(tracker.parent().data.tags.get(TAG))
        if holder is not None and not holder.ended:
            return Findings(said=[f"in use by {holder}: not compared"])
        return _examine(state, mend=False)
    try:
        with Lease(RunTag(tracker.client, tracker.address.parent)):
            return _examine(state, mend=True)
    except LeaseError as error:
        return Findings(wrong=[f"in use, not touched: {error}"])


def _examine(state: State, mend: bool) -> Findings:
    found = Findings(wrong=reconcile(state.tracker, mend=mend))
    runs = {
        run.data.tags["lotus.key"]: run
        for run in state.tracker.runs()
        if run.info.status == "FINISHED"
    }
    jobs = {job.key if node is None else node: (job, node) for job, node in _jobs(state)}
    wanted = [runs[key] for key in jobs if key in runs]
    for run, history in with_histories(state.tracker, wanted):
        with tempfile.TemporaryDirectory() as folder:
            try:
                recorded = _wanted(state, *jobs[run.data.tags["lotus.key"]], Path(folder))
            except NotStored as error:
                found.said.append(f"{run.info.run_name}: cannot be compared: {error}")
                continue
            found.compared += 1
            found.wrong += _compare(state, run, history, recorded, mend)
    return found


def _jobs(state: State) -> Iterator[tuple[Job, str | None]]:
    """Trials, and shared stages with the key of the stage."""
    for trial in (*state.plan.trials, *state.plan.early):
        yield job_of(trial), None
    for key in state.plan.shared:
        yield job_of(state.plan.owner[key]), key


class _Recorder(RunLog):
    """Takes what a worker writes to a run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(client=None)
        self.folder = folder
        self.points: dict[tuple[str, int], float] = {}
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        for name, value in values.items():
            if value is not None:
                self.points.setdefault((name, step), float(value))

    def flush(
        self, params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        for name, value in (params or {}).items():
            self.params[name] = redacted(str(value))[:PARAM_CHARACTERS]
        for name, value in (tags or {}).items():
            self.tags[name] = redacted(str(value))[:TAG_CHARACTERS]

    def artifacts(self, folder: Path, into: str | None = None) -> None:
        shutil.copytree(folder, self.folder / (into or ""), dirs_exist_ok=True)

    def finish(self, status: str = "FINISHED") -> None:
        """Nothing: it is no run."""


class _Stored(Cached):
    """Reads only."""

    def _compute(self, node: Node[Any], key: str) -> Any:
        raise NotStored(f"the store has no result of {node.stage.name} {key[:12]}")


@dataclass
class _Reader(Worker):
    """A worker that writes into a recorder and computes nothing."""

    recorder: _Recorder | None = None

    def start(self, key: str, kind: str, name: str, tags: Mapping[str, str]) -> RunLog:
        assert self.recorder is not None
        self.recorder.flush(tags=tags)
        return self.recorder

    def cached(self, opened: Any, progress: Any, key: str, log: RunLog) -> Cached:
        usual = super().cached(opened, progress, key, log)
        return _Stored(usual.store, usual.sources, usual.ctx, usual.memory, owner=usual.owner)


def _wanted(state: State, job: Job, stage: str | None, folder: Path) -> _Recorder:
    recorder = _Recorder(folder)
    here = _Reader(state.settings(), state.store, state.tracker, recorder=recorder)
    opened = state.plan.sources_of(job.config)
    if stage is None:
        run_trial(here, job, opened)
    else:
        run_stage(here, job, stage, opened)
    recorder.tags.pop("lotus.cached", None)  # of whom it was first needed, no result
    return recorder


def _compare(state: State, run: Any, history: History, wanted: _Recorder, mend: bool) -> list[str]:
    """What does not agree, and is mended in place or by having the run delivered again."""
    tracker, name = state.tracker, run.info.run_name
    missing, beyond = _metrics(history, wanted)
    params, tags = run.data.params, run.data.tags
    beyond += [
        f"param {key} = {params[key]}, the store says {value}"
        for key, value in wanted.params.items()
        if key in params and params[key] != value
    ]
    if beyond:
        said = f"{name}: {_some(beyond)}"
        if not mend:
            return [said]
        _deliver_again(state, run, said)
        return [f"{said}: the run is deleted, the next `lotus run` delivers it again"]
    lost = {key: value for key, value in wanted.params.items() if key not in params}
    other = {key: value for key, value in wanted.tags.items() if tags.get(key) != value}
    files = _files(tracker, run.info.run_id, wanted.folder)
    listed = [f"metric {name} at step {step} is missing" for name, step in missing]
    listed += [f"param {key} is missing" for key in lost]
    listed += [f"tag {key} is not as it should be" for key in other]
    listed += [f"artifact {path} is missing or not as it should be" for path in files]
    if not listed:
        return []
    if not mend:
        return [f"{name}: {_some(listed)}"]
    log = RunLog(tracker.client, run.info.run_id, dict(params), breaker=tracker.breaker)
    for metric, step in missing:
        log.metrics({metric: wanted.points[metric, step]}, step)
    log.flush(lost, other)
    for path in files:
        into = str(Path(path).parent)
        local = str(wanted.folder / path)
        tracker.ask(lambda a=local, b=into: tracker.client.log_artifact(log.run_id, a, b))  # type: ignore[misc]
    return [f"{name}: {_some(listed)}: mended"]


def _metrics(history: History, wanted: _Recorder) -> tuple[list[tuple[str, int]], list[str]]:
    """Points that are missing, and sentences on points that MLflow cannot take back."""
    seen: dict[tuple[str, int], float] = {}
    beyond: list[str] = []
    for name in {name for name, _ in wanted.points} & history.keys():
        for step, value in history[name]:
            where = name, step
            if where in seen:
                beyond.append(f"metric {name} is twice at step {step}")
            elif where not in wanted.points:
                beyond.append(f"metric {name} at step {step} has no result in the store")
            elif not name.startswith(TIMED) and not same(value, wanted.points[where]):
                beyond.append(
                    f"metric {name} = {value:g} at step {step}, the store says "
                    f"{wanted.points[where]:g}"
                )
            seen[where] = value
    return [where for where in wanted.points if where not in seen], sorted(beyond)


def _files(tracker: Tracker, run_id: str, folder: Path) -> list[str]:
    """Artifacts below a folder that the run has not, or has otherwise."""
    found: list[str] = []
    for local in sorted(filter(Path.is_file, folder.rglob("*"))):
        path = str(local.relative_to(folder))
        try:
            with fetched(tracker, run_id, path) as remote:
                if remote is None or _content(remote) != _content(local):
                    found.append(path)
        except (OSError, ValueError, FormatError, SafetensorError, ArtifactError):  # not readable
            found.append(path)
    return found


def _content(path: Path) -> bytes | str:
    """What a file says. safetensors writes its metadata in a random order."""
    content = path.read_bytes()
    if path.suffix != ".safetensors":
        return content
    from safetensors.torch import load

    return digest_of(header_of(content), load(content))


def _deliver_again(state: State, run: Any, why: str) -> None:
    """Delete a run and note that it is owed; its attempts stay counted."""
    tags, tracker = run.data.tags, state.tracker
    note = Note(
        key=tags["lotus.key"],
        kind=tags["lotus.kind"],
        name=run.info.run_name,
        status="FINISHED",
        error=None,
        reason=why,
        attempts=int(tags.get("lotus.attempts", "1")),
    )
    Pending(state.store, tracker.address.parent).put(note)
    tracker.ask(lambda: tracker.client.delete_run(run.info.run_id))


def _some(listed: list[str]) -> str:
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return "; ".join(listed[:SHOWN]) + more
