"""Writing to one MLflow run: buffered, in batches, each (metric, step) once."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.secrets import all_redacted
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.patience import IN_PARTS, Breaker, TrackingError, patiently
from orchestrator.tracking.places import local
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

    With an outbox every method except `write`, `artifacts` and `finish` returns at once. These
    come after the computation, and wait until all calls are made or the patience runs out.

    Attributes:
        run_id: with an outbox, empty until the run is found or created.
        sent_params: params that the run already has; they cannot change and are not sent again.
        logged_metrics: metrics with points from earlier attempts.
        attempts: number of attempts including this one; 0 until the run is found or created.
        begun_ms: when the run began according to MLflow; None = not asked yet.
        flush_s: a buffer older than this is sent with the next metric. It doubles each time,
            because a long training needs no point every ten seconds.
        ended: called with the status when the run has ended.
        error: why the trial failed, as it was logged.
        discarded: whether the run was deleted, to be delivered again as a new one.
        place: where its artifacts go; empty = MLflow has to be asked.
    """

    client: Client
    run_id: str = ""
    sent_params: dict[str, str] = field(default_factory=dict)
    logged_metrics: set[str] = field(default_factory=set)
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
    _buffered_steps: dict[str, set[int]] = field(default_factory=dict)
    _histories: dict[str, dict[int, float]] = field(default_factory=dict)
    _flushed: float = field(default_factory=time.monotonic)

    @property
    def undelivered(self) -> str | None:
        """Why the run is not in MLflow as it should be; None when it is."""
        return self.outbox.failure if self.outbox else None

    def say(self, call: Callable[[], object]) -> None:
        """Make a call in the background, or now if there is no outbox."""
        if self.outbox is not None:
            self.outbox.post(call)
        else:
            patiently(call, self.breaker)

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Buffer metrics, except None and steps that were given before."""
        now = int(time.time() * 1000)
        for metric, value in values.items():
            steps = self._buffered_steps.setdefault(metric, set())
            if value is not None and step not in steps:
                steps.add(step)
                self._metrics.append(Measurement(metric, float(value), now, step))
        if time.monotonic() - self._flushed > self.flush_s:
            self.flush()
            self.flush_s = min(2 * self.flush_s, max(self.flush_s, SLOWEST_FLUSH_S))

    def flush(
        self, params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """Send buffered metrics, params and tags in as few requests as MLflow's limits allow."""
        param_texts, tag_texts = texts(params, PARAM_CHARACTERS), texts(tags, TAG_CHARACTERS)
        self.error = tag_texts.get(Tag.ERROR, self.error)
        metrics, self._metrics = self._metrics, []
        self._flushed = time.monotonic()
        if metrics or param_texts or tag_texts:
            self.say(lambda: self._send(metrics, param_texts, tag_texts))

    def _send(
        self, metrics: list[Measurement], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Send, except what earlier attempts have sent; can be repeated after an error."""
        metrics = self._new(metrics)
        rows = [Pair(k, v) for k, v in params.items() if k not in self.sent_params]
        marks = [Pair(k, v) for k, v in tags.items()]
        while metrics or rows or marks:
            count = min(METRICS_PER_BATCH - len(rows[:PARAMS_PER_BATCH]), len(metrics))
            part = metrics[:count], rows[:PARAMS_PER_BATCH], marks[:TAGS_PER_BATCH]
            self.client.log_batch(self.run_id, *part)
            self.sent_params |= {row.key: row.value for row in part[1]}
            metrics = metrics[count:]
            rows, marks = rows[PARAMS_PER_BATCH:], marks[TAGS_PER_BATCH:]

    def _new(self, metrics: list[Measurement]) -> list[Measurement]:
        """The metrics whose step the run does not have yet.

        Raises:
            TrackingError: an earlier attempt logged another value. MLflow cannot change it, so
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
                    f"{metric.step}, but now it is {metric.value:g}: the run is replaced"
                )
        return new

    def _history(self, metric: str) -> dict[int, float]:
        if metric not in self.logged_metrics:
            return {}
        if metric not in self._histories:
            points = self.client.get_metric_history(self.run_id, metric)
            self._histories[metric] = {point.step: point.value for point in points}
        return self._histories[metric]

    def write(self, fill: Callable[[Path], None]) -> None:
        """Write artifacts below a folder: their own where that is on this machine.

        Args:
            fill: called with the folder, which is there; again with another one if that fails.
        """
        if self.outbox is not None:
            self.outbox.settle()  # until then a run may have no place yet
        own = local(self.client.resolved_address(self.place)) if self.place else None
        if own is not None:
            try:
                own.mkdir(parents=True, exist_ok=True)
                fill(own)
            except OSError:
                pass  # an upload waits for a store that is away, and says what is wrong
            else:
                return
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder))
            self.artifacts(Path(folder))

    def artifacts(self, folder: Path, into: str | None = None) -> None:
        """Upload everything below a folder; the folder may be deleted afterwards."""
        self.say(lambda: self._upload(str(folder), into))
        if self.outbox is not None:
            self.outbox.settle()

    def _upload(self, folder: str, into: str | None) -> None:
        try:
            self.client.log_artifacts(self.run_id, folder, into, self.place)
        except Exception:
            if self.place:
                # Perhaps only the server can reach the storage that parts go to.
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
        """End the run, not before it began even if the clock was set back."""
        if self.begun_ms is None:
            self.begun_ms = self.client.get_run(self.run_id).info.start_time
        ended = max(self.begun_ms, int(time.time() * 1000))
        self.client.set_terminated(self.run_id, status, ended)


def texts(values: Mapping[str, Any] | None, limit: int) -> dict[str, str]:
    """Values as text for MLflow: without secrets, and not too long."""
    redacted = all_redacted({name: str(value) for name, value in (values or {}).items()})
    return {name: text[:limit] for name, text in redacted.items()}


def same(a: float, b: float) -> bool:
    """Whether two values are equal in MLflow, which stores infinity as the largest number."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    limit = sys.float_info.max
    return max(-limit, min(limit, a)) == max(-limit, min(limit, b))
