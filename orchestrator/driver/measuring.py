"""What a driver measures of its sweep on a cluster, beside what happens to its items."""

import math
from contextlib import AbstractContextManager

from orchestrator import metrics
from orchestrator.driver import capacity
from orchestrator.planning.config import SweepConfig
from orchestrator.storage.store import Store
from orchestrator.tracking.pending import Pending
from orchestrator.worker import exporter
from orchestrator.worker.job import Settings


def measured_as(sweep: SweepConfig, address: str | None) -> str | None:
    """The sweep's name in metrics; None where it has a Ray of its own, which nobody scrapes."""
    if address in (None, "local"):
        return None
    own, experiment = sweep.name, sweep.experiment_name
    return own if own == experiment else f"{experiment}/{own}"


def measured(sweep: SweepConfig, settings: Settings) -> AbstractContextManager[None]:
    """Measure while a sweep runs on a connected cluster."""
    pending = Pending(Store(settings.store), settings.address.parent)
    limit = sweep.resources.max_concurrent_trials or math.inf

    def sample() -> None:
        slots = capacity.slots(sweep.resources, capacity.living_nodes())
        metrics.put(metrics.SLOTS, min(slots, limit))
        metrics.put(metrics.PENDING, pending.count())

    return exporter.exporting(settings.measured_as, sample)
