"""Systems side by side: `systems` of summary.json, where two systems or more were run.

Every system at its settings, with what it costs, against the dense model and against its own
control. Intervals of one family of systems hold together (Bonferroni), so a verdict here may be
more careful than that of the same pair alone. Differences are those of `comparisons.py`: on test,
paired by seed and image, on the tokens that a model uses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.analysis import Analysis
from orchestrator.selection.arms import test_interval
from orchestrator.selection.claimed import claimed, matches
from orchestrator.selection.comparisons import Spreads, compared
from orchestrator.selection.contrasts import Contrast, against_reference
from orchestrator.selection.families import (
    System,
    several,
    shown,
    systems_of,
    telling_axes,
)
from orchestrator.selection.matched import matched
from orchestrator.selection.own_controls import own_controls, without_control
from orchestrator.selection.pairs import FINAL, Outcomes
from orchestrator.selection.pareto import front
from orchestrator.selection.scopes import Difference
from orchestrator.selection.series import spread
from orchestrator.selection.settings import TEST, VAL, Setting, macs_ratio
from orchestrator.vocabulary import Metric
from trials.arms import FAMILIES

_OF_A_COMPARISON = (
    "n", "n_images", "mean", "models_low", "models_high", "models_corrected_low",
    "models_corrected_high", "seeds_low", "seeds_high", "seeds_corrected_low",
    "seeds_corrected_high", "family_size", "margin", "scope", "verdict", "verdict_models",
    "equal_within", "would_decide",
)  # fmt: skip
"""Fields of `ArmComparison` that stand in the summary."""


@dataclass(frozen=True, slots=True, eq=False)
class Against:
    """A system and one setting that it is compared with.

    Attributes:
        other: its control; None = the dense reference.
    """

    system: System
    other: System | None
    contrast: Contrast


def systems(analysis: Analysis) -> dict[str, Any] | None:
    """The entry `systems` of summary.json; None if there is nothing to set side by side.

    Returns:
        families: rows with family, label, comparisons (how many hold together), left_out (settings
        beyond `families.MOST_SETTINGS` of a system) and rows (see `_row`); the dense model is the
        one row of the first family, None. matched: see `matched.matched`. claims: see
        `claimed.Claimed`.
    """
    all_systems = systems_of(analysis.results, analysis.settings)
    if not several(all_systems):
        return None
    rows_of = _Rows(analysis, all_systems)
    kept = shown(all_systems)
    families = []
    for family in (None, *FAMILIES):
        own = [s for s in kept if s.family == family]
        if own:
            compared_, size = rows_of.compared(own)
            families.append({
                "family": family,
                "label": FAMILIES[family] if family else "Dense",
                "comparisons": size,
                "left_out": sum(s.family == family for s in all_systems) - len(own),
                "rows": [rows_of.row(s, compared_) for s in own],
            })  # fmt: skip
    return {
        "families": families,
        "matched": matched(all_systems, analysis.confidence),
        "claims": claimed(analysis, all_systems),
    }


def planned(results: pd.DataFrame, settings: Sequence[Setting]) -> list[Contrast]:
    """What is compared here, decided by validation and axes alone: no outcome is needed."""
    all_systems = systems_of(results, settings)
    if not several(all_systems):
        return []
    rows_ = [one.contrast for s in shown(all_systems) for one in against(s, all_systems)]
    return [*rows_, *(match.contrast for match in matches(all_systems))]


def against(system: System, systems: Sequence[System]) -> Iterator[Against]:
    """A system against the dense reference and against its own controls."""
    if system.family is None:
        return
    settings = [s.setting for s in systems]
    reference = against_reference(system.setting, settings)
    yield Against(system, None, _side_by_side(reference))
    for control in own_controls(system, systems):
        pair = Contrast(
            family="side_by_side", a=system.setting, b=control.setting, of_a=FINAL, of_b=FINAL
        )
        yield Against(system, control, pair)


def _side_by_side(c: Contrast) -> Contrast:
    return Contrast(family="side_by_side", a=c.a, b=c.b, of_a=c.of_a, of_b=c.of_b)


Found = Mapping[int, Sequence[tuple[Against, dict[str, Any] | None]]]
"""id of a system -> its comparisons, None where a side was not measured."""


class _Rows:
    """The rows of one summary."""

    def __init__(self, analysis: Analysis, systems: Sequence[System]) -> None:
        self._systems = systems
        self._telling = telling_axes(systems)
        self._spreads = Spreads(analysis.settings)
        self._outcomes: Outcomes = analysis.outcomes or {}
        self._confidence = analysis.confidence
        self._margin = analysis.tolerance
        self._front = {id(s) for s in front(analysis.settings)}
        training = [s.setting.mean[Metric.FINAL_MACS_TRAINING] for s in systems if not s.family]
        self._dense_training = min((t for t in training if t), default=None)

    def compared(self, own: Sequence[System]) -> tuple[Found, int]:
        """The comparisons of a family's systems, and how many of them hold together."""
        found = [(one, self._gap(one.contrast)) for s in own for one in against(s, self._systems)]
        size = sum(gap is not None for _, gap in found)
        by_system: dict[int, list[tuple[Against, dict[str, Any] | None]]] = {}
        for one, gap in found:
            entry = None if gap is None else self._entry(one.contrast, gap, size)
            by_system.setdefault(id(one.system), []).append((one, entry))
        return by_system, size

    def _gap(self, contrast: Contrast) -> Difference | None:
        return self._spreads.difference(contrast, contrast.pairs(self._outcomes))

    def _entry(self, contrast: Contrast, gap: Difference, size: int) -> dict[str, Any]:
        whole = asdict(compared(contrast, gap, size, self._confidence, self._margin))
        return {field: whole[field] for field in _OF_A_COMPARISON}

    def row(self, system: System, found: Found) -> dict[str, Any]:
        """One system at one setting; accuracies and shares are fractions.

        Returns:
            arm, system (name), control, trained (False: applied to a finished model), front, n,
            setting, point (axes that say where it stands), tokens; validation: mean and limits;
            test_accuracy with limits and scope; macs and macs_ratio (of the same forward pass,
            choosing patches included), kept (of the prunable weights), macs_training and
            training_ratio (to the dense model's); reference (of `dense`), dense, controls (each
            with `control`, `setting` and `point`) and no_control (what to add).
        """
        s = system.setting
        spread_, scope = test_interval(s, self._confidence)
        known = [float(v) for r in s.seeds if (v := r[VAL]) is not None]
        val = spread(known, s.mean[Metric.DENSE_VAL_N], self._confidence) if known else {}
        training = s.mean[Metric.FINAL_MACS_TRAINING]
        relative = training / self._dense_training if training and self._dense_training else None
        sparsity = s.mean[Metric.FINAL_SPARSITY]
        return {
            "arm": s.arm, "system": system.name, "control": system.control,
            "trained": system.trained, "front": id(s) in self._front, "n": len(s.seeds),
            "setting": dict(s.axes), "point": self._point(system),
            "tokens": system.config["tokens"],
            "validation": {k: val.get(k) for k in ("mean", "ci_low", "ci_high")},
            "test_accuracy": s.mean[TEST], "ci_low": spread_.low if spread_ else None,
            "ci_high": spread_.high if spread_ else None, "scope": scope,
            "macs": s.mean[Metric.FINAL_MACS_DEPLOYED], "macs_ratio": macs_ratio(s.mean),
            "kept": None if sparsity is None else 1 - sparsity,
            "macs_training": training, "training_ratio": relative,
        } | self._comparisons(system, found.get(id(system), ()))  # fmt: skip

    def _point(self, system: System) -> dict[str, Any]:
        telling = self._telling[system.family, system.name]
        axes = system.setting.axes.items()
        return {axis: value for axis, value in axes if axis in telling and value is not None}

    def _comparisons(
        self, system: System, found: Sequence[tuple[Against, dict[str, Any] | None]]
    ) -> dict[str, Any]:
        dense = [(one, entry) for one, entry in found if one.other is None]
        controls = [
            {"control": one.other.name, "setting": dict(one.other.setting.axes),
             "point": self._point(one.other), **entry}
            for one, entry in found if one.other is not None and entry is not None
        ]  # fmt: skip
        fine_tuned = any(one.contrast.a is not one.contrast.b for one, _ in dense)
        return {
            "reference": "fine_tuned" if fine_tuned else "before_fine_tuning",
            "dense": dense[0][1] if dense else None,
            "controls": controls,
            "no_control": None if controls else without_control(system),
        }
