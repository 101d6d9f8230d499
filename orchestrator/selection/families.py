"""Systems set side by side: the family of a setting, and its name.

A system is a setting under its own name: an arm, a method of token reduction, or a reading of ISP.
Families are those of `trials.arms`; what controls a system says `own_controls.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.design import PRESET
from orchestrator.selection.rows import Row, rows
from orchestrator.selection.settings import (
    Setting,
    comparable,
    number_or_text,
    preference,
)
from trials.arms import (
    BASE_AXES,
    BY_NAME,
    CONTROLS,
    FAMILIES,
    IN_WORDS,
    ISSP_ARMS,
    MAGNITUDE,
    RANDOM_MASK,
    REDUCED_AS,
    SHOWN,
    SYSTEM_CONTROLS,
    Family,
    family_of,
)

METHOD, COUNT = "reduction.method", "reduction.count"
LEVELS = ("reduction.keep", "reduction.r")
METRIC, MERGE, FUSE = "reduction.metric", "reduction.merge", "reduction.fuse"
TRAIN = "reduction.train"
COLUMNS = (
    METHOD, COUNT, *LEVELS, METRIC, MERGE, FUSE, TRAIN, PRESET, "tokens", "issp.steps",
     "finetune.weights", "finetune.epochs", "patch_drop",
)  # fmt: skip
"""What is read of a trial, whether it varies in the sweep or not."""

MOST_SETTINGS = 8
"""Of one system: a grid of LOTUS has hundreds."""

READINGS = {
    "isp_published": "ISP, merge as published",
    "isp_published_votes": "ISP, merge by votes",
    "isp_code": "ISP, released code",
    "isp_paper": "ISP, first reading",
    "progressive": "ISP without denoiser",
    "progressive_published": "Progressive pruning",
    "lth": "Lottery tickets (LTH)",
}
"""Presets of ISSP that are systems of their own."""

WITHOUT_LOOK_AHEAD = ("progressive", "progressive_published")
"""Presets that have no look-ahead, unless the sweep file gives them one."""

_VARIANTS = {
    METRIC: {"random": ", random pairs"},
    MERGE: {"drop": ", dropped instead of merged"},
    COUNT: {"initial": ", counted from the start"},
    FUSE: {"False": ", not fused", "normalised": ", fusion normalised"},
}
"""Settings that make another system of a method: column -> value -> what its name says more."""

CHANCE = "random"  # a method of reduction, a metric of ToMe


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """One setting, with what says which system it is.

    Attributes:
        config: COLUMNS of its first trial; numbers as numbers, None for what it does not read.
    """

    setting: Setting
    config: Row
    family: Family | None

    @property
    def name(self) -> str:
        """The system in words, as tables list it."""
        label = IN_WORDS.get(self.setting.arm, self.setting.arm)
        label = f"{label[:1].upper()}{label[1:]}"
        preset = str(self.config[PRESET] or "default")
        if self.is_issp and preset != "default":
            reading = READINGS.get(preset, f"ISSP, {preset}")
            label = reading if self.family == "weights" else f"{label} ({reading})"
            if preset in WITHOUT_LOOK_AHEAD and self.config["issp.steps"]:
                label += f", {self.config['issp.steps']} steps of look-ahead"
        for column, values in _VARIANTS.items():
            label += values.get(str(self.config[column]), "")
        return f"{label} with {REDUCED_AS[self.method][0]}" if self.combined else label

    @property
    def method(self) -> str:
        """The method of token reduction, `none` without one."""
        return str(self.config[METHOD] or "none")

    @property
    def combined(self) -> bool:
        """Whether tokens leave inside a model that is no plain dense one."""
        return self.family == "combined" and self.method in REDUCED_AS

    @property
    def is_issp(self) -> bool:
        """Whether its mask is ISSP's, and it is no control."""
        return self.setting.arm in ISSP_ARMS

    @property
    def control(self) -> bool:
        """Whether it is there to show what a part of another system is worth."""
        arm = self.setting.arm
        if self.family == "weights":
            return arm == RANDOM_MASK
        chance = self.method == CHANCE or self.config[METRIC] == CHANCE
        dropped = self.config[MERGE] == "drop"
        return chance or dropped or arm in CONTROLS or arm in {c for _, c, _ in SYSTEM_CONTROLS}

    @property
    def trained(self) -> bool:
        """False if its tokens leave a finished model, which was not trained for it."""
        return self.method not in REDUCED_AS or str(self.config[TRAIN]) != "False"

    @property
    def tokens(self) -> tuple[int, ...] | None:
        """Tokens in the MLP of every block; None where none leave inside, or it is not known."""
        text = self.config["tokens"]
        if self.method not in REDUCED_AS or not text:
            return None
        entering, _, last = str(text).partition(" → ")
        counts = (*map(int, entering.split("/")), int(last))
        # DynamicViT cuts before a block, the others between its attention and its MLP.
        return counts[:-1] if self.method == "dynamicvit" else counts[1:]


def systems_of(results: pd.DataFrame, settings: Sequence[Setting]) -> list[System]:
    """The settings as systems, by family, then as tables list them, then by accuracy."""
    config = {str(row["key"]): row for row in rows(results, ("key", *COLUMNS))}
    order = {name: i for i, (name, _, _) in enumerate(SHOWN)}
    families = list(FAMILIES)
    found = [_system(s, config.get(str(s.trials[0]["key"]), {})) for s in settings]
    return sorted(
        found,
        key=lambda s: (
            families.index(s.family) if s.family else -1,
            order.get(s.setting.arm, len(order)),
            s.name,
            preference(s.setting),
        ),
    )


def _system(setting: Setting, row: Mapping[str, Any]) -> System:
    config = {column: number_or_text(row.get(column)) for column in COLUMNS}
    reduces = str(config[METHOD] or "none") in REDUCED_AS
    family = family_of(setting.arm, bool(config["patch_drop"]), reduces)
    return System(setting, config, family)


def several(systems: Sequence[System]) -> bool:
    """Whether two systems were run, controls apart, or systems of two families."""
    families = {s.family for s in systems if s.family}
    return len(families) > 1 or len({s.name for s in systems if s.family and not s.control}) > 1


def shown(systems: Sequence[System]) -> list[System]:
    """Of every system at most MOST_SETTINGS settings, the best by validation."""
    counted: dict[tuple[Family | None, str], int] = {}
    found = []
    for s in systems:
        place = (s.family, s.name)
        counted[place] = counted.get(place, 0) + 1
        if counted[place] <= MOST_SETTINGS:
            found.append(s)
    return found


def telling_axes(systems: Sequence[System]) -> dict[tuple[Family | None, str], set[str]]:
    """Family and name of a system -> the axes that say where its settings stand.

    Those are the axes of LOTUS, how many tokens leave, and what varies among its settings: a
    sweep's other axes stand in every trial's parameters, whether its arm reads them or not.
    """
    groups: dict[tuple[Family | None, str], list[Setting]] = {}
    for s in systems:
        groups.setdefault((s.family, s.name), []).append(s.setting)
    return {
        place: {
            axis
            for axis in settings[0].axes
            if axis in BASE_AXES
            or axis in LEVELS
            or len({comparable(one.axes[axis]) for one in settings}) > 1
        }
        for place, settings in groups.items()
    }


def one_shot(system: System) -> bool:
    """Whether a setting is one-shot magnitude, on all patches."""
    arm = BY_NAME.get(system.setting.arm)
    once = arm is not None and (arm.mask == "one_shot" or arm.name == MAGNITUDE)
    return system.family == "weights" and once
