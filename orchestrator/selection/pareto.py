"""The settings of a sweep that no other setting beats in everything."""

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
from trials.arms import CONTROLS

Costs = tuple[float, float, float]
"""Lower is better: minus accuracy, multiply-accumulates, minus sparsity."""

DIGITS = 9
"""Of accuracies and sparsities that are told apart: as fine as `rows.TIE`."""


def dominates(one: Costs, other: Costs) -> bool:
    """Whether `one` is nowhere worse than `other`, and somewhere better."""
    no_worse = all(a <= b for a, b in zip(one, other, strict=True))
    return no_worse and one != other


def front(settings: Sequence[Setting]) -> list[Setting]:
    """The non-dominated settings by validation accuracy, MACs and final sparsity.

    Accuracy and MACs are those of one deployed forward pass, choosing the patches included. Means
    over seeds. Controls are no answer and left out, and so are settings without a measured
    cost. Equal settings are all kept. Best accuracy first.
    """
    known = {i: c for i, s in enumerate(settings) if (c := _costs(s)) is not None}
    kept = [
        settings[i]
        for i, own in known.items()
        if not any(dominates(other, own) for other in known.values())
    ]
    return sorted(kept, key=preference)


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
    if s.arm in CONTROLS or macs is None or sparsity is None or s.mean[VAL] is None:
        return None
    # Means of equal numbers may differ in the last bits.
    return -round(s.val_accuracy, DIGITS), float(f"{macs:.9g}"), -round(sparsity, DIGITS)
