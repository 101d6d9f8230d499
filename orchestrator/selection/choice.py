"""Which setting to use: the cheapest that keeps the dense accuracy, by validation alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import Contrast, against_reference
from orchestrator.selection.rows import TIE, average
from orchestrator.selection.scopes import Difference
from orchestrator.selection.settings import TEST, VAL, Setting, preference
from orchestrator.selection.verdicts import percent, points_of
from orchestrator.vocabulary import Metric
from trials.arms import LOTUS_ARMS

Chosen = Literal["shown on validation", "within on validation", "best on validation"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting and why it was chosen, before any test outcome is read.

    Attributes:
        on_test: the comparison on test that decides the verdict.
    """

    setting: Setting
    chosen: Chosen
    reason: str
    on_test: Contrast


def choose(
    settings: Sequence[Setting],
    spreads: Spreads,
    tolerance: float = 0.01,
    confidence: float = 0.95,
) -> Choice | None:
    """The cheapest setting that keeps the dense accuracy on validation.

    Candidates are the settings of LOTUS_ARMS with a deployed accuracy and known MACs. First choice
    are those shown to keep the accuracy: their whole interval against the dense reference (from
    counts, in the widest scope available) is above -tolerance. Without any, those whose mean is.
    Among them: fewest MACs, including the choice of patches, then highest final sparsity, then
    best validation accuracy. If no mean is above -tolerance: the best validation accuracy.

    Args:
        tolerance: fraction (0.01 = 1 point).

    Returns:
        None when there is no candidate.
    """
    candidates = _candidates(settings)
    if not candidates:
        return None
    gaps = [(s, _validation_gap(s, settings, spreads)) for s in candidates]
    shown = [
        s for s, gap in gaps
        if gap and _at_least(gap.interval(gap.scope, confidence).low, -tolerance)
    ]  # fmt: skip
    within = [s for s, gap in gaps if gap and _at_least(gap.mean, -tolerance)]
    if shown:
        best, chosen = min(shown, key=_cost), "shown on validation"
    elif within:
        best, chosen = min(within, key=_cost), "within on validation"
    else:
        best, chosen = min(candidates, key=preference), "best on validation"
    counts = {"candidates": len(candidates), "shown": len(shown), "within": len(within)}
    on_test = against_reference(best, settings)
    return Choice(best, chosen, _reason(chosen, counts, on_test, tolerance), on_test)  # type: ignore[arg-type]


def _candidates(settings: Sequence[Setting]) -> list[Setting]:
    return [
        s for s in settings
        if s.arm in LOTUS_ARMS and s.mean[VAL] is not None and s.mean[Metric.FINAL_MACS_DEPLOYED]
    ]  # fmt: skip


def reference_means(on_test: Contrast) -> dict[str, float | None]:
    """Validation and test accuracy of the dense reference, over the seeds that both have."""
    dense = on_test.b
    columns = {"val": VAL, "test": TEST}
    if dense is on_test.a:
        columns = {"val": Metric.DENSE_VAL_ACCURACY, "test": Metric.DENSE_TEST_ACCURACY}
    common = [
        average(dense.by_seed()[seed], columns.values()) for seed in on_test.a.seeds_with(dense)
    ] or list(dense.seeds)
    mean = average(common, columns.values())
    return {split: mean[column] for split, column in columns.items()}


def _validation_gap(
    setting: Setting, settings: Sequence[Setting], spreads: Spreads
) -> Difference | None:
    # From counts: reading the outcomes of every candidate would take too long.
    contrast = against_reference(setting, settings, validation=True)
    return spreads.difference(contrast, contrast.pairs({}))


def _at_least(value: float | None, floor: float) -> bool:
    return value is not None and value >= floor - TIE


def _reason(chosen: Chosen, counts: dict[str, int], on_test: Contrast, tolerance: float) -> str:
    """Why the setting was chosen, in one or two sentences."""
    mean, dense = percent(on_test.a.mean[VAL]), percent(reference_means(on_test)["val"])
    source = (
        "the dense model before fine-tuning (the dense arm was not run)"
        if on_test.a is on_test.b
        else "dense with equal fine-tuning"
    )
    near = f"within {points_of(tolerance)} of {source} ({dense} on validation)"
    cheapest = (
        f"this one ({mean}) needs the fewest multiply-accumulates and, of those that need equally "
        "few, removes the most weights"
    )
    total, shown, within = (counts[kind] for kind in ("candidates", "shown", "within"))
    if chosen == "shown on validation":
        are = "is" if shown == 1 else "are"
        return f"{shown} of {_settings(total)} {are} shown to be {near}; of them {cheapest}."
    if chosen == "within on validation":
        return (
            f"None of {_settings(total)} is shown on validation to be {near}, but the mean of "
            f"{within} is; of them {cheapest}."
        )
    return f"None of {_settings(total)} is {near}; this one is the most accurate there ({mean})."


def _settings(count: int) -> str:
    return f"{count:,} setting{'' if count == 1 else 's'}"


def _cost(s: Setting) -> tuple[Any, ...]:
    macs, sparsity = s.mean[Metric.FINAL_MACS_DEPLOYED], s.mean[Metric.FINAL_SPARSITY]
    return (
        math.inf if macs is None else float(f"{macs:.9g}"),  # means may differ in the last bit
        -round(sparsity or 0.0, 9),
        *preference(s),
    )
