"""Device-hours: what a sweep has taken, and what sharing its stages has saved."""

from collections.abc import Iterable, Mapping

from orchestrator.planning.config import SweepConfig
from orchestrator.vocabulary import Metric, Tag

Told = tuple[Mapping[str, str], Mapping[str, float]]
"""Tags and metrics of a run."""


def device_hours(
    runs: Iterable[Told], sweep: SweepConfig, measured: float | None = None
) -> tuple[float, float]:
    """Device-hours of the sweep's stages, and what sharing them saved.

    A shared stage counts once, a stage from an earlier sweep not at all. A device is a GPU if
    trials use one, else a CPU core.

    Args:
        measured: the part of a GPU that a trial has with `resources.gpu: auto`; None = unknown.
    """
    spent = alone = 0.0
    for tags, metrics in runs:
        if tags.get(Tag.SUPERSEDED) == "true":
            continue
        if tags.get(Tag.KIND) == "stage":
            if tags.get(Tag.CACHED) != "true":
                spent += sum(v for k, v in metrics.items() if k.startswith(Metric.TIME))
        elif Metric.TIME_TOTAL_S in metrics:
            spent += max(0.0, metrics[Metric.TIME_TOTAL_S] - metrics.get(Metric.CACHE_SAVED_S, 0.0))
            alone += metrics[Metric.TIME_TOTAL_S]
    share = (measured or sweep.resources.gpus or sweep.resources.cpu) / 3600
    return spent * share, max(0.0, alone - spent) * share
