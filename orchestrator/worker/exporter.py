"""Handing what is measured to Ray, whose agent on each node shows it to Prometheus.

Only in processes of a cluster that was joined. A run on this machine alone starts its own Ray,
which nobody scrapes, and measures nothing.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray.util import metrics as ray_metrics

from orchestrator import metrics
from orchestrator.metrics import SWEEP, Metric
from trials.errors import LotusError

REFRESH_S = 5.0
"""Ray forgets a gauge that was not set for two of its report intervals, 20 s unless configured."""

logger = logging.getLogger(__name__)


class RaySink:
    """Gives what is measured to Ray's metrics; gauges again and again, as long as it is open."""

    def __init__(self, sweep: str) -> None:
        self.sweep = sweep
        self._made: dict[str, Any] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._refresh, name="lotus-metrics", daemon=True).start()

    def take(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """See `metrics.Sink`."""
        tags = {SWEEP: self.sweep, **labels}
        if metric.kind == "gauge":
            with self._lock:
                self._gauges[metric.name, tuple(tags.items())] = value
        try:
            self._give(self._of(metric), value, tags)
        except Exception:  # whatever is wrong with measuring, the sweep goes on
            logger.debug("%s was not measured", metric.name, exc_info=True)

    def close(self) -> None:
        """Set no gauge again."""
        self._closed.set()

    def _of(self, metric: Metric) -> Any:
        with self._lock:
            if metric.name not in self._made:
                self._made[metric.name] = made(metric)
            return self._made[metric.name]

    @staticmethod
    def _give(own: Any, value: float, tags: dict[str, str]) -> None:
        if isinstance(own, ray_metrics.Counter):
            own.inc(value, tags)
        elif isinstance(own, ray_metrics.Histogram):
            own.observe(value, tags)
        else:
            own.set(value, tags)

    def _refresh(self) -> None:
        while not self._closed.wait(REFRESH_S):
            with self._lock:
                known = list(self._gauges.items())
            for (name, tags), value in known:
                with contextlib.suppress(Exception):
                    self._give(self._made[name], value, dict(tags))


def made(metric: Metric) -> Any:
    """A metric as Ray's own object."""
    labels = (SWEEP, *metric.labels)
    if metric.kind == "counter":
        return ray_metrics.Counter(metric.name, metric.help, labels)
    if metric.kind == "gauge":
        return ray_metrics.Gauge(metric.name, metric.help, labels)
    return ray_metrics.Histogram(metric.name, metric.help, list(metric.buckets), labels)


_SINKS: dict[str, RaySink] = {}


def export(sweep: str | None) -> None:
    """Measure for a sweep from now on, in a worker process; None = not at all."""
    if sweep is None:
        metrics.send_to(None)
        return
    if sweep not in _SINKS:
        _SINKS[sweep] = RaySink(sweep)
    metrics.send_to(_SINKS[sweep])


@contextlib.contextmanager
def exporting(sweep: str | None, sample: Callable[[], None]) -> Iterator[None]:
    """Measure for a sweep, in the driver.

    Args:
        sample: measures what nobody tells of; called every `REFRESH_S` by a thread.
    """
    if sweep is None:
        yield
        return
    sink, closed = RaySink(sweep), threading.Event()

    def work() -> None:
        while True:
            with contextlib.suppress(LotusError):  # a store that is away
                sample()
            if closed.wait(REFRESH_S):
                return

    metrics.send_to(sink)
    thread = threading.Thread(target=work, name="lotus-samples", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        sink.close()
        metrics.send_to(None)
