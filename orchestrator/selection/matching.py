"""The controls of a sweep, matched to masked trials of equal sparsity."""

from collections.abc import Sequence
from typing import Any

from orchestrator.selection.design import Anchor, Point, point
from orchestrator.selection.pairs import CONTROL, FINAL
from orchestrator.selection.rows import Row, mean
from orchestrator.selection.settings import Setting, same_sparsity
from orchestrator.vocabulary import Metric
from trials.arms import MASK_CONTROLS


class Controls:
    """The controls of the sweep, indexed by what they must share with a masked trial."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        self.columns = sorted({c for s in settings for c in s.axes})
        self.context = [c for c in self.columns if c.startswith(("data.", "model.", "dense."))]
        recovery = ("finetune.", "tickets.")
        self.after = [*self.context, *(c for c in self.columns if c.startswith(recovery))]
        self.by_place: dict[tuple[str, Point, Any], list[Row]] = {}
        for s in settings:
            if s.arm in MASK_CONTROLS:
                place = point(s.axes, self.context)
                for seed, row in s.first.items():
                    self.by_place.setdefault((s.arm, place, seed), []).append(row)

    def like(self, setting: Setting, arm: str, final: bool) -> dict[Any, Row]:
        """Seed -> the control at the same sparsity; `final`: also with equal fine-tuning."""
        matches: dict[Any, Row] = {}
        place = point(setting.axes, self.context)
        measure = FINAL if final else CONTROL
        for seed, masked in setting.first.items():
            for row in self.by_place.get((arm, place, seed), []):
                fits = _same_count(masked, row) and row[measure.accuracy] is not None
                if fits and (not final or self._equal_recovery(masked, row)):
                    matches.setdefault(seed, row)
        return matches

    def _equal_recovery(self, masked: Row, control: Row) -> bool:
        drops = [_number(r.get("patch_drop")) for r in (masked, control)]
        return drops[0] == drops[1] and point(masked, self.after) == point(control, self.after)

    def curve(self, anchors: Sequence[Anchor]) -> list[dict[str, Any]]:
        """Accuracy of each control right after pruning, by sparsity, mean over its trials."""
        places = {point(a.setting.axes, self.context) for a in anchors}
        levels: dict[tuple[str, float], dict[Any, Row]] = {}
        for (arm, place, seed), group in self.by_place.items():
            for row in group:
                level = _sparsity(row)
                if place in places and level is not None and row[CONTROL.accuracy] is not None:
                    levels.setdefault((arm, round(level, 6)), {}).setdefault(seed, row)
        return [
            {"arm": arm, "sparsity": level, "n": len(trials),
             "accuracy": mean(list(trials.values()), CONTROL.accuracy)}
            for (arm, level), trials in sorted(levels.items())
        ]  # fmt: skip


def _same_count(masked: Row, control: Row) -> bool:
    a, b = masked[Metric.ISSP_SPARSITY], _sparsity(control)
    return a is not None and b is not None and same_sparsity(a, b)


def _sparsity(control: Row) -> float | None:
    measured: float | None = control[Metric.CONTROL_SPARSITY]
    return control[Metric.FINAL_SPARSITY] if measured is None else measured


def _number(value: Any) -> float:
    return 0.0 if value is None else round(float(value), 9)
