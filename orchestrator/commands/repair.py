"""MLflow compared with the store, run by run, and mended. Nothing is trained for it.

What a run should hold is not kept anywhere: it follows from the results in the store, as it does
for the worker that writes the run (`worker/run_record.py`).
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from orchestrator.driver.state import State, look
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import PlannedTrial
from orchestrator.tracking.artifacts import ArtifactError, fetched
from orchestrator.tracking.histories import History, with_histories
from orchestrator.tracking.lease import Holder, Lease, LeaseError, RunTag
from orchestrator.tracking.pending import Note, Pending
from orchestrator.tracking.reconcile import reconcile
from orchestrator.tracking.runlog import PARAM_CHARACTERS, TAG_CHARACTERS, RunLog, same, texts
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Metric, Tag
from orchestrator.worker.job import Job, job_of, owner_of
from orchestrator.worker.record import write_all
from orchestrator.worker.run_record import (
    NotStored,
    RunRecord,
    StageRun,
    TrialRun,
    record_of,
    stage_run,
    stored,
)
from trials.container import digest_of, header_of
from trials.errors import FormatError
from trials.graph.fitting import tokens_of
from trials.graph.pipeline import pipeline

TIMED = (Metric.TIME, Metric.CACHE)
"""Metrics whose value depends on when and for whom a stage was computed; only their presence."""

SHOWN = 3


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
        holder = Holder.of_text(tracker.parent().data.tags.get(Tag.DRIVER))
        if holder is not None and not holder.ended:
            return Findings(said=[f"in use by {holder}: not compared"])
        return _examine(state, mend=False)
    try:
        with Lease(RunTag(tracker.client, tracker.address.parent)):
            return _examine(state, mend=True)
    except LeaseError as error:
        return Findings(wrong=[f"in use, not touched: {error}"])


def _examine(state: State, mend: bool) -> Findings:
    reconciled = reconcile(state.tracker, mend=mend)
    found = Findings(wrong=reconciled.lines)
    present = state.tracker.runs() if reconciled.runs is None else reconciled.runs
    runs = {run.data.tags[Tag.KEY]: run for run in present if run.info.status == "FINISHED"}
    jobs = {job.key if node is None else node: (job, node) for job, node in _jobs(state)}
    wanted = [runs[key] for key in jobs if key in runs]
    for run, history in with_histories(state.tracker, wanted):
        try:
            record = _record(state, *jobs[run.data.tags[Tag.KEY]])
        except NotStored as error:
            found.said.append(f"{run.info.run_name}: cannot be compared: {error}")
            continue
        found.compared += 1
        with tempfile.TemporaryDirectory() as folder:
            found.wrong += _compare(state, run, history, record, Path(folder), mend)
    return found


def _jobs(state: State) -> Iterator[tuple[Job, str | None]]:
    """Trials, and shared stages with the key of the stage."""
    for trial in (*state.plan.trials, *state.plan.early):
        yield job_of(trial), None
    for key in state.plan.shared:
        yield job_of(state.plan.owner[key]), key


def _record(state: State, job: Job, stage: str | None) -> RunRecord:
    """What the run of a trial, or of a shared stage, should hold.

    Raises:
        NotStored: the store has not got all that it is made of.
    """
    opened, config = state.plan.sources_of(job.config), job.config
    graph = pipeline(config, opened.sources)
    run: TrialRun | StageRun
    if stage is None:
        keeps = state.plan.sweep.retention.checkpoints == "all"
        tokens = tokens_of(config, opened.sources.counts)
        trial = PlannedTrial(job.key, job.name, config, graph, dict(job.axes), tokens)
        run = TrialRun(trial, opened.dataset, keeps)
    else:
        run = stage_run(job, graph, stage)
    owner = owner_of(state.tracker.address, run.identity.key)
    return record_of(run, stored(state.store, run.made_of, owner))


def _compare(
    state: State, run: Run, history: History, record: RunRecord, folder: Path, mend: bool
) -> list[str]:
    """What does not agree, and is mended in place or by having the run delivered again.

    Args:
        folder: to write the record's files below.
    """
    name, params, tags = run.info.run_name, run.data.params, run.data.tags
    missing, beyond = _points(history, record)
    wanted = texts(record.params, PARAM_CHARACTERS)
    beyond += [
        f"param {key} = {params[key]}, the store says {value}"
        for key, value in wanted.items()
        if key in params and params[key] != value
    ]
    if beyond:
        said = f"{name}: {_some(beyond)}"
        if not mend:
            return [said]
        _deliver_again(state, run, said)
        return [f"{said}: the run is deleted, the next `lotus run` delivers it again"]
    said_tags = texts({**record.identity.tags, **record.tags}, TAG_CHARACTERS)
    said_tags.pop(Tag.CACHED, None)  # of whom it was first needed, no result
    lost = {key: value for key, value in wanted.items() if key not in params}
    other = {key: value for key, value in said_tags.items() if tags.get(key) != value}
    write_all(record.files, folder)
    files = _files(state.tracker, run.info.run_id, folder)
    listed = [f"metric {name} at step {step} is missing" for name, step in missing]
    listed += [f"param {key} is missing" for key in lost]
    listed += [f"tag {key} is not as it should be" for key in other]
    listed += [f"artifact {path} is missing or not as it should be" for path in files]
    if not listed:
        return []
    if not mend:
        return [f"{name}: {_some(listed)}"]
    tracker = state.tracker
    log = RunLog(tracker.client, run.info.run_id, dict(params), breaker=tracker.breaker)
    for metric, step in missing:
        log.metrics({metric: record.points[metric, step]}, step)
    log.flush(lost, other)
    for path in files:
        into, local = str(Path(path).parent), str(folder / path)
        tracker.ask(partial(tracker.client.log_artifact, log.run_id, local, into))
    return [f"{name}: {_some(listed)}: mended"]


def _points(history: History, wanted: RunRecord) -> tuple[list[tuple[str, int]], list[str]]:
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


def _deliver_again(state: State, run: Run, why: str) -> None:
    """Delete a run and note that it is owed; its attempts stay counted."""
    tags, tracker = run.data.tags, state.tracker
    note = Note(
        key=tags[Tag.KEY],
        kind="trial" if tags[Tag.KIND] == "trial" else "stage",
        name=run.info.run_name,
        status="FINISHED",
        error=None,
        reason=why,
        attempts=int(tags.get(Tag.ATTEMPTS, "1")),
    )
    Pending(state.store, tracker.address.parent).put(note)
    tracker.ask(lambda: tracker.client.delete_run(run.info.run_id))


def _some(listed: list[str]) -> str:
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return "; ".join(listed[:SHOWN]) + more
