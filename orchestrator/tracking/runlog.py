"""Writing to one MLflow run: buffered, in batches, each (metric, step) once."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.secrets import all_redacted
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.patience import IN_PARTS, Breaker, TrackingError, patiently
from orchestrator.tracking.port import Client
from orchestrator.tracking.runs import Measurement, Pair
from orchestrator.vocabulary import Tag

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
PARAM_CHARACTERS = 6000
TAG_CHARACTERS = 5000

SLOWEST_FLUSH_S = 60.0


@dataclass(slots=True)
class RunLog:
    """One run, for writing.

    With an outbox every method but `artifacts` and `finish` returns at once. Those two come after
    the computing; they wait until all is said, or until the patience is used up.

    Attributes:
        run_id: with an outbox empty until the run is found or made.
        known: params that the run already has; they cannot change, and are not sent again.
        logged: metrics that earlier attempts have logged something of.
        attempts: of this run so far, this one included; 0 until it is found or made.
        begun_ms: when the run began, as MLflow has it; None = not asked yet.
        flush_s: a buffer older than this is sent with the next metric; doubles each time, because
            who looks at a long training needs no point every ten seconds.
        ended: told when the run has ended, with the status.
        error: why the trial failed, as it was logged.
        discarded: whether the run was deleted, to be delivered again as a new one.
        place: where its artifacts go; empty until it is known, then MLflow is not asked for it.
    """

    client: Client
    run_id: str = ""
    known: dict[str, str] = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)
    attempts: int = 0
    begun_ms: int | None = None
    flush_s: float = 10.0
    breaker: Breaker = field(default_factory=lambda: Breaker(""))
    outbox: Outbox | None = None
    ended: Callable[[RunLog, str], None] = lambda log, status: None
    error: str | None = None
    discarded: bool = False
    place: str = ""
    _metrics: list[Measurement] = field(default_factory=list)
    _given: dict[str, set[int]] = field(default_factory=dict)
    _earlier: dict[str, dict[int, float]] = field(default_factory=dict)
    _flushed: float = field(default_factory=time.monotonic)

    @property
    def undelivered(self) -> str | None:
        """Why the run is not in MLflow as it should be; None when it is."""
        return self.outbox.failure if self.outbox else None

    def say(self, call: Callable[[], object]) -> None:
        """Make a call in the background, or now when there is no outbox."""
        if self.outbox is not None:
            self.outbox.post(call)
        else:
            patiently(call, self.breaker)

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Buffer metrics; None is left out, and so is a step that the run already has."""
        now = int(time.time() * 1000)
        for name, value in values.items():
            steps = self._given.setdefault(name, set())
            if value is not None and step not in steps:
                steps.add(step)
                self._metrics.append(Measurement(name, float(value), now, step))
        if time.monotonic() - self._flushed > self.flush_s:
            self.flush()
            self.flush_s = min(2 * self.flush_s, max(self.flush_s, SLOWEST_FLUSH_S))

    def flush(
        self, params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """Send what is buffered, with params and tags, in as few requests as the limits allow."""
        values, marks = texts(params, PARAM_CHARACTERS), texts(tags, TAG_CHARACTERS)
        self.error = marks.get(Tag.ERROR, self.error)
        metrics, self._metrics = self._metrics, []
        self._flushed = time.monotonic()
        if metrics or values or marks:
            self.say(lambda: self._send(metrics, values, marks))

    def _send(
        self, metrics: list[Measurement], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Send, leaving out what earlier attempts have sent; may be done again after an error."""
        metrics = self._new(metrics)
        rows = [Pair(k, v) for k, v in params.items() if k not in self.known]
        marks = [Pair(k, v) for k, v in tags.items()]
        while metrics or rows or marks:
            count = min(METRICS_PER_BATCH - len(rows[:PARAMS_PER_BATCH]), len(metrics))
            part = metrics[:count], rows[:PARAMS_PER_BATCH], marks[:TAGS_PER_BATCH]
            self.client.log_batch(self.run_id, *part)
            self.known |= {row.key: row.value for row in part[1]}
            metrics = metrics[count:]
            rows, marks = rows[PARAMS_PER_BATCH:], marks[TAGS_PER_BATCH:]

    def _new(self, metrics: list[Measurement]) -> list[Measurement]:
        """Those whose step the run has not got yet.

        Raises:
            TrackingError: an earlier attempt logged another value; MLflow cannot change it, so
                the run is deleted and delivered again as a new one.
        """
        new: list[Measurement] = []
        for metric in metrics:
            earlier = self._history(metric.key)
            if metric.step not in earlier:
                new.append(metric)
            elif not same(earlier[metric.step], metric.value):
                self.discarded = True
                self.client.delete_run(self.run_id)
                raise TrackingError(
                    f"an earlier attempt logged {metric.key} = {earlier[metric.step]:g} at step "
                    f"{metric.step}, now it is {metric.value:g}: its run is replaced"
                )
        return new

    def _history(self, name: str) -> dict[int, float]:
        if name not in self.logged:
            return {}
        if name not in self._earlier:
            points = self.client.get_metric_history(self.run_id, name)
            self._earlier[name] = {point.step: point.value for point in points}
        return self._earlier[name]

    def artifacts(self, folder: Path, into: str | None = None) -> None:
        """Upload everything below a folder, which may go away afterwards."""
        self.say(lambda: self._upload(str(folder), into))
        if self.outbox is not None:
            self.outbox.settle()

    def _upload(self, folder: str, into: str | None) -> None:
        try:
            self.client.log_artifacts(self.run_id, folder, into, self.place)
        except Exception:
            if self.place:
                # Perhaps this process cannot reach where parts go; the server can.
                os.environ[IN_PARTS] = "false"
            raise

    def finish(self, status: str = "FINISHED") -> None:
        """Flush and end the run."""
        self.flush()
        self.say(lambda: self._terminate(status))
        if self.outbox is not None:
            self.outbox.settle()
            self.outbox.close()
        self.ended(self, status)

    def _terminate(self, status: str) -> None:
        """A run does not end before it began, although the clock may have been set back since."""
        if self.begun_ms is None:
            self.begun_ms = self.client.get_run(self.run_id).info.start_time
        ended = max(self.begun_ms, int(time.time() * 1000))
        self.client.set_terminated(self.run_id, status, ended)


def texts(values: Mapping[str, Any] | None, limit: int) -> dict[str, str]:
    """As MLflow may have them: without secrets, and not too long."""
    found = all_redacted({name: str(value) for name, value in (values or {}).items()})
    return {name: text[:limit] for name, text in found.items()}


def same(one: float, other: float) -> bool:
    """Whether MLflow shows two values alike: it keeps infinity as the largest number."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    limit = sys.float_info.max
    return max(-limit, min(limit, one)) == max(-limit, min(limit, other))
