"""The Pareto front of a sweep: settings that no other setting dominates."""

from collections.abc import Sequence
from typing import Any

from orchestrator.selection.settings import (
    TEST,
    VAL,
    Setting,
    kept_macs_ratio,
    macs_ratio,
    preference,
)
from orchestrator.vocabulary import Metric
from trials.arms import TESTS

Costs = tuple[float, float, float]
"""Lower is better: minus accuracy, multiply-accumulates, minus sparsity."""

DIGITS = 9
"""To which accuracies and sparsities are compared: as fine as `rows.TIE`."""


def dominates(mine: Costs, other: Costs) -> bool:
    """Whether `mine` is nowhere worse than `other` and somewhere better."""
    no_worse = all(a <= b for a, b in zip(mine, other, strict=True))
    return no_worse and mine != other


def front(settings: Sequence[Setting]) -> list[Setting]:
    """The non-dominated settings by validation accuracy, MACs and final sparsity.

    Accuracy and MACs are means over seeds of one deployed forward pass, including the choice of
    patches. Controls and settings without a measured cost are left out, equal settings are all
    kept. Best accuracy first.
    """
    costs = {i: c for i, s in enumerate(settings) if (c := _costs(s)) is not None}
    undominated: set[int] = set()
    # What dominates comes before what it dominates, and is itself dominated by none or by one kept.
    for i, own in sorted(costs.items(), key=lambda item: item[1]):
        if not any(dominates(costs[kept], own) for kept in undominated):
            undominated.add(i)
    return sorted((settings[i] for i in costs if i in undominated), key=preference)


def pareto(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """`summary["pareto"]`: a row per setting of the front; accuracies are fractions."""
    return [
        {
            "arm": s.arm,
            "n": len(s.seeds),
            "val_accuracy_mean": s.mean[VAL],
            "test_accuracy_mean": s.mean[TEST],
            "macs": s.mean[Metric.FINAL_MACS_DEPLOYED],
            "macs_ratio": macs_ratio(s.mean),
            "macs_ratio_kept": kept_macs_ratio(s.mean),
            "sparsity_mean": s.mean[Metric.FINAL_SPARSITY],
            "setting": dict(s.axes),
        }
        for s in front(settings)
    ]


def _costs(s: Setting) -> Costs | None:
    macs, sparsity = s.mean[Metric.FINAL_MACS_DEPLOYED], s.mean[Metric.FINAL_SPARSITY]
    if s.arm in TESTS or macs is None or sparsity is None or s.mean[VAL] is None:
        return None
    # Rounded, because means of equal numbers may differ in the last bits.
    return -round(s.val_accuracy, DIGITS), float(f"{macs:.9g}"), -round(sparsity, DIGITS)
