"""How much of each layer survives: one-shot pruning beside the masks of the arms.

All at the recommended setting, or at the place nearest to it that an arm has: arms ignore axes, and
an arm that was not run at this place stands with its best setting there is. Masks that two arms
share (LOTUS has that of ISSP on all patches) stand once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.selection.rows import Row
from orchestrator.selection.settings import Setting, group_settings, preference
from trials.arms import CURVE_ARMS, LOTUS, PRUNED

ONE_SHOT, FINAL = "essential", "final"
"""Names of masks in `masks/sparsity.json`."""

MOST_SEEDS = 5

Layers = Mapping[str, Mapping[str, float]]
"""Content of `masks/sparsity.json`: mask -> layer -> fraction of its weights removed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mask that is shown, and the setting whose trials have it.

    Attributes:
        shared: further arms with this very mask.
    """

    mask: str
    setting: Setting
    shared: tuple[str, ...] = ()

    @property
    def runs(self) -> list[str]:
        """Run ids of its trials, one for each seed."""
        return [str(trial["run_id"]) for trial in self.setting.first.values()][:MOST_SEEDS]


def wanted_masks(
    table: pd.DataFrame, axes: Sequence[str], recommended: Mapping[str, Any] | None
) -> list[Wanted]:
    """The masks to show: the one-shot one of the recommended level, then one of each arm.

    Args:
        table: from `trials_table`. axes: further ones of the sweep.
        recommended: the entry of summary.json.
    """
    pruned = [s for s in group_settings(table, axes) if s.arm in PRUNED and s.first]
    arms = sorted({s.arm for s in pruned}, key=lambda arm: (arm != LOTUS, PRUNED.index(arm)))
    nearest = [_nearest([s for s in pruned if s.arm == arm], recommended) for arm in arms]
    curve = [s for s in nearest if s.arm in CURVE_ARMS]
    found = [Wanted(ONE_SHOT, s) for s in curve[:1]]
    masks: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in nearest:
        if not (found and _is_one_shot(setting)):
            own = tuple(_mask_of(trial) for trial in setting.first.values())
            masks.setdefault(own, []).append(setting)
    return found + [
        Wanted(FINAL, first, tuple(other.arm for other in others))
        for first, *others in masks.values()
    ]


def _nearest(settings: Sequence[Setting], recommended: Mapping[str, Any] | None) -> Setting:
    """The best of those that agree with the recommended setting, else the best of all."""
    wanted = (recommended or {}).get("setting") or {}
    fits = [s for s in settings if all(_fits(s.axes.get(a), v) for a, v in wanted.items())]
    return min(fits or settings, key=preference)


def _fits(mine: Any, wanted: Any) -> bool:
    return mine is None or wanted is None or mine == wanted


def _mask_of(trial: Row) -> Any:
    return trial.get("stage.control") or trial.get("stage.issp") or trial["run_id"]


def _is_one_shot(setting: Setting) -> bool:
    """Whether its final mask is the one-shot mask itself."""
    return all(not t.get("stage.control") and not t.get("stage.issp") for t in setting.trials)


def summarised(wanted: Sequence[Wanted], read: Mapping[str, Layers]) -> list[Row]:
    """The entry `layers` of summary.json.

    Args:
        read: run id -> what it recorded.

    Returns:
        mask, arm, shared (further arms with this mask), setting, n (seeds), layers: rows with
        layer and kept, the mean over seeds of the fraction of its weights that survives.
    """
    found = []
    for one in wanted:
        known = [read[run][one.mask] for run in one.runs if one.mask in read.get(run, {})]
        names = [name for name in (known[0] if known else {}) if all(name in k for k in known)]
        if names:
            found.append({
                "mask": one.mask,
                "arm": one.setting.arm,
                "shared": list(one.shared),
                "setting": dict(one.setting.axes),
                "n": len(known),
                "layers": [
                    {"layer": name, "kept": float(np.mean([1 - k[name] for k in known]))}
                    for name in names
                ],
            })  # fmt: skip
    return found
