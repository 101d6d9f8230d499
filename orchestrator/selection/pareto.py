"""The settings of a sweep that no other setting beats in everything."""

from collections.abc import Sequence
from typing import Any

from orchestrator.selection.rows import TIE
from orchestrator.selection.settings import (
    TEST,
    VAL,
    Setting,
    kept_macs_ratio,
    macs_ratio,
    preference,
)
from trials.arms import CONTROLS

Costs = tuple[float, float, float]
"""Lower is better: minus accuracy, multiply-accumulates, minus sparsity."""


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
            "macs": s.mean["final/macs_deployed"],
            "macs_ratio": macs_ratio(s.mean),
            "macs_ratio_kept": kept_macs_ratio(s.mean),
            "sparsity_mean": s.mean["final/sparsity"],
            "setting": dict(s.axes),
        }
        for s in front(settings)
    ]


def _costs(s: Setting) -> Costs | None:
    macs, sparsity = s.mean["final/macs_deployed"], s.mean["final/sparsity"]
    if s.arm in CONTROLS or macs is None or sparsity is None or s.mean[VAL] is None:
        return None
    # Means of equal numbers may differ in the last bits; TIE is far below any real difference.
    digits = 9
    assert 10.0**-digits <= TIE
    return -round(s.val_accuracy, digits), float(f"{macs:.9g}"), -round(sparsity, digits)
