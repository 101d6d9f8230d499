"""Metrics of a running sweep, for Prometheus. This module does not depend on Ray.

All metrics are defined below. Code calls `count`, `put`, `change` or `observe`; values are dropped
until `send_to` sets a sink, as `exporter.py` does in the processes of a cluster. Labels have few
values: never a key or a run id. Each metric also has the label `sweep`.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]

SWEEP = "sweep"
"""The label that every metric has."""

PREFIX = "ray_"
"""Ray's prefix for all exported metrics."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: including its unit; counters without `_total`.
        help: one line of explanation.
        labels: besides `sweep`.
        buckets: upper limits of a histogram's buckets.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> tuple[str, ...]:
        """The names of its series in Prometheus.

        Without a histogram's `_sum`, because Ray 2.60 computes it from the middles of the buckets.
        """
        series = PREFIX + self.name
        if self.kind == "histogram":
            return f"{series}_bucket", f"{series}_count"
        return (f"{series}_total",) if self.kind == "counter" else (series,)


FAST_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Buckets for operations that should take milliseconds."""

SLOW_S = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""Buckets for stages: from a toy model to a day."""

TRIALS = Metric(
    "lotus_trials",
    "gauge",
    "Trials by state: waiting, running, retrying (waiting for another attempt), finished, failed",
    ("state",),
)
SHARED_STAGES = Metric(
    "lotus_shared_stages",
    "gauge",
    "Shared stages by state, as of trials",
    ("state",),
)
PLANNED = Metric("lotus_trials_planned", "gauge", "Trials that the sweep file calls for")
SLOTS = Metric("lotus_slots", "gauge", "Trials or shared stages that the cluster can run at once")
ATTEMPTS = Metric(
    "lotus_attempts",
    "counter",
    "Attempts that have ended: well, or by a failure of this class",
    ("kind", "outcome"),
)
RETRIES = Metric(
    "lotus_retries", "counter", "Failed attempts after which one more follows", ("kind",)
)
STAGE_SECONDS = Metric(
    "lotus_stage_seconds", "histogram", "Time to compute a stage", ("stage",), SLOW_S
)
STAGE_BUSY_SECONDS = Metric(
    "lotus_stage_busy_seconds", "counter", "Time spent on computing stages", ("stage", "device")
)
PROGRESS = Metric("lotus_progress", "counter", "Epochs and mask ingredients that stages have done")
CACHE_HITS = Metric(
    "lotus_cache_hits", "counter", "Stages of finished trials that came from the store", ("stage",)
)
CACHE_SAVED_SECONDS = Metric(
    "lotus_cache_saved_seconds", "counter", "Time that computing those would have taken", ("stage",)
)
MLFLOW_SECONDS = Metric(
    "lotus_mlflow_seconds", "histogram", "Time of one call to MLflow", ("call",), FAST_S
)
MLFLOW_ERRORS = Metric(
    "lotus_mlflow_errors",
    "counter",
    "Calls to MLflow that failed: it was away, or refused",
    ("call", "reason"),
)
MLFLOW_RETRIES = Metric("lotus_mlflow_retries", "counter", "Calls to MLflow that are made again")
OUTBOX_CALLS = Metric("lotus_outbox_calls", "gauge", "Calls that wait to be made to MLflow")
PENDING = Metric(
    "lotus_pending_deliveries", "gauge", "Runs that are owed to MLflow, noted in the store"
)
STORE_SECONDS = Metric(
    "lotus_store_seconds", "histogram", "Time of one read or write", ("operation",), FAST_S
)
STORE_BYTES = Metric(
    "lotus_store_bytes",
    "counter",
    "Bytes read (near: on the node's disk) and written",
    ("operation",),
)
STORE_ERRORS = Metric(
    "lotus_store_errors", "counter", "Reads and writes that failed once", ("operation",)
)

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in list(globals().values()) if isinstance(metric, Metric)
}
"""All metrics by name."""


class Sink(Protocol):
    """Receives all values. Must return at once and never raise; any thread may call it."""

    def take(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """A counter's increase, a gauge's new value, or one observation of a histogram."""


class _Nowhere:
    def take(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        pass


_NOWHERE = _Nowhere()
_sink: Sink = _NOWHERE
_levels: dict[str, float] = {}
_lock = threading.Lock()


def send_to(sink: Sink | None) -> None:
    """Set the sink for all values of this process; None = drop them."""
    global _sink  # noqa: PLW0603, one for the process, like the handlers of logging
    _sink = sink or _NOWHERE


def count(metric: Metric, value: float = 1.0, **labels: str) -> None:
    """Add to a counter."""
    if value > 0:
        _sink.take(metric, value, labels)


def put(metric: Metric, value: float, **labels: str) -> None:
    """Set a gauge."""
    _sink.take(metric, value, labels)


def change(metric: Metric, by: float) -> None:
    """Add to a gauge without labels that several threads share."""
    with _lock:
        _levels[metric.name] = _levels.get(metric.name, 0.0) + by
        _sink.take(metric, _levels[metric.name], {})


def observe(metric: Metric, value: float, **labels: str) -> None:
    """Add an observation to a histogram."""
    _sink.take(metric, value, labels)
