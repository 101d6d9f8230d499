"""The names of what is measured, and that measuring never disturbs who is measured."""

import re
import threading

from orchestrator import metrics
from orchestrator.metrics import METRICS
from tests.orchestrator.conftest import Kept

UNITS = ("_seconds", "_bytes")
COUNTED = {
    "lotus_trials",
    "lotus_shared_stages",
    "lotus_trials_planned",
    "lotus_slots",
    "lotus_attempts",
    "lotus_retries",
    "lotus_progress",
    "lotus_cache_hits",
    "lotus_mlflow_errors",
    "lotus_mlflow_retries",
    "lotus_outbox_calls",
    "lotus_pending_deliveries",
    "lotus_store_errors",
}
"""Numbers of things have no unit; every other name must end with its unit."""

FEW_VALUES = {"state", "kind", "outcome", "stage", "device", "call", "reason", "operation"}


def test_every_name_says_its_unit_or_counts_things() -> None:
    assert METRICS.keys() > COUNTED
    for name, metric in METRICS.items():
        assert re.fullmatch(r"lotus(_[a-z]+)+", name), name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        assert (name in COUNTED) != name.endswith(UNITS), name
        assert metric.help
        assert not metric.help.endswith(".")


def test_no_label_can_have_many_values() -> None:
    assert {label for metric in METRICS.values() for label in metric.labels} <= FEW_VALUES


def test_buckets_rise_and_only_histograms_have_them() -> None:
    for metric in METRICS.values():
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert all(limit > 0 for limit in metric.buckets)


def test_exported_names_are_those_that_prometheus_sees() -> None:
    assert metrics.TRIALS.exported == ("ray_lotus_trials",)
    assert metrics.ATTEMPTS.exported == ("ray_lotus_attempts_total",)
    assert metrics.STORE_SECONDS.exported == (
        "ray_lotus_store_seconds_bucket",
        "ray_lotus_store_seconds_count",
    )


def test_what_is_measured_without_a_sink_reaches_none_that_comes_later() -> None:
    metrics.count(metrics.PROGRESS)
    metrics.put(metrics.TRIALS, 3, state="running")
    metrics.observe(metrics.STORE_SECONDS, 0.1, operation="read")
    later = Kept()
    metrics.send_to(later)
    metrics.send_to(None)
    metrics.count(metrics.PROGRESS)
    assert later.taken == []


def test_a_counter_is_given_only_what_it_grows_by(kept: Kept) -> None:
    metrics.count(metrics.STORE_BYTES, 0, operation="read")  # Ray refuses an increase by nothing
    metrics.count(metrics.STORE_BYTES, 7, operation="read")
    assert kept.taken == [("lotus_store_bytes", 7, {"operation": "read"})]


def test_threads_that_change_one_gauge_lose_nothing(kept: Kept) -> None:
    def work() -> None:
        for _ in range(500):
            metrics.change(metrics.SLOTS, 1)
            metrics.change(metrics.SLOTS, -1)
        metrics.change(metrics.SLOTS, 1)

    metrics.change(metrics.SLOTS, 0)
    before = kept.taken[-1][1]
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.taken[-1][1] == before + 8
    assert len(kept.taken) == 1 + 8 * 1001
