"""What runs in a process: the items of one batch, one after the other."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.ray_internals.memory import HeadMemory
from orchestrator.worker import exporter, failures
from orchestrator.worker.attempt_log import recording
from orchestrator.worker.job import Job, Settings
from orchestrator.worker.telling import Teller
from orchestrator.worker.worker import run_stage, run_trial, worker
from trials.graph.sources import Opened, Sources
from trials.model.repository import Remote

OVERDUE_S = 3.0
"""After so long a process gives the rest of its batch back, for others may be idle: three times
what a batch should take."""

_SORTS: set[str] = set()
"""What this process has run."""


_TELLERS: dict[bytes, Teller] = {}


def told_where(settings: Settings) -> bytes:
    """Where the processes of a sweep say how far they have come."""
    return f"lotus-sweep-told/{settings.address.parent}".encode()


def _teller(settings: Settings) -> Teller:
    """Of this process, for a sweep."""
    space = told_where(settings)
    if space not in _TELLERS:
        process, memory = ray.get_runtime_context().get_worker_id(), HeadMemory(space)
        _TELLERS[space] = Teller(lambda note: memory.write(process, note))
    return _TELLERS[space]


def work(config: dict[str, Any], payload: Any) -> None:
    """What Tune runs for a batch: how an item failed decides whether it runs again.

    Reports a list, as text, because Tune takes nested results apart at "/", which our metrics
    have in their names.

    Raises:
        DeviceBrokenError: all is told, and this process can compute no more.
    """
    told = run_batch(json.loads(config["batch"]), payload)
    tune.report({"told": json.dumps(told)})
    if told and told[-1].get("kind") == "device":
        raise failures.DeviceBrokenError(told[-1]["error"])


def run_batch(batch: Sequence[Mapping[str, Any]], payload: Any) -> list[dict[str, Any]]:
    """Run the items of a batch, one after the other.

    Returns:
        For each item that was begun its error, its metrics and its seconds. Of the first of its
        sort in this process none: it has imported what all others find at hand.
    """
    settings, boxes = payload
    exporter.export(settings.measured_as)
    start, told = time.monotonic(), []
    for one in batch:
        begun = time.monotonic()
        said = _work(one, settings, boxes)
        warm = one["sort"] in _SORTS
        _SORTS.add(one["sort"])
        told.append(said | {"seconds": time.monotonic() - begun if warm else None})
        if said.get("kind") in ("store", "device") or time.monotonic() - start > OVERDUE_S:
            break
    return told


def _fetched(dataset: Any, sources: Sources, weights: Path | Remote | None) -> Opened:
    """A job's data; arrays stay in the object store, read-only, for all processes of the node."""
    return Opened(sources, ray.get(dataset), weights)


def _work(one: Mapping[str, Any], settings: Any, boxes: Any) -> dict[str, Any]:
    """Run one item: its error, its class and its metrics."""
    job = Job.of_text(one["job"], settings.common)
    with recording():
        try:
            here = worker(settings)
            here.micro_batch, here.fresh = one["micro_batch"], one["fresh"]
            here.tell = _teller(settings).tell
            opened = here.source(job, lambda: _fetched(*boxes[job.source]))
            if one["kind"] == "stage":
                run_stage(here, job, one["key"], opened)
                return {"error": None, "metrics": {}}
            return {"error": None, "metrics": run_trial(here, job, opened)}
        except Exception as error:
            failure = failures.failure_of(error)
            return {"error": failure.reason, "kind": failure.kind}
