"""One-at-a-time designs: settings that differ from an anchor in exactly one suspect.

They are found from the table alone: every trial carries its whole configuration, so settings
(trials without their seed) can be compared column by column.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from orchestrator.selection.pairs import CONTROL, FINAL, PRUNED
from orchestrator.selection.rows import grouped, rows
from orchestrator.selection.settings import (
    METRICS,
    Setting,
    comparable,
    number_or_text,
    place_of,
    setting_of,
    with_deployed,
)
from orchestrator.vocabulary import Metric
from trials.arms import BASE_AXES, ISSP_ARMS

PRESET = "issp.preset"
MOST_ANCHORS = 4
AROUND = 3  # suspects that must vary around a second anchor of the same reading
_SECTIONS = (
    "data.",
    "model.",
    "dense.",
    "tickets.",
    "essential.",
    "issp.",
    "finetune.",
    "reduction.",
)
_SUSPECT = ("issp.", "finetune.", "essential.")
_IDENTITY = (
    "key",
    "arm",
    "seed",
    "auto_sparsity",
    Metric.ISSP_SPARSITY,
    Metric.CONTROL_SPARSITY,
    Metric.FINAL_SPARSITY,
    Metric.FINAL_EPOCHS_TO_NEAR_DENSE,
    Metric.DENOISE_JACCARD_MEAN,
)
# Read for every trial, whether they vary or not.
_ALWAYS = (
    PRESET,
    *BASE_AXES,
    "tickets.select",
    "finetune.epochs",
)
# These describe the rounds and are changed together, so they count as one suspect.
_ROUNDS = ("issp.rounds", "issp.schedule", "issp.round_fraction", "issp.round_training",
           "issp.order", "issp.rate", "issp.train_fraction", "issp.train_growth",
           "issp.carry_optimizer", "issp.stop_within", "issp.final_trim",
           "issp.trim_when")  # fmt: skip
LABELS = {
    PRESET: "reading of ISSP",
    "issp.merge": "union polarity",
    "issp.sparsity_reference": "sparsity reference",
    "issp.levels": "levels",
    "issp.target_sparsity": "target sparsity",
    "issp.steps": "look-ahead steps",
    "issp.ingredients": "ingredients",
    "issp.rounds": "rounds",
    "issp.subset": "subset per ingredient",
    "issp.start": "weights that ISSP starts from",
    "issp.look_ahead": "length of the look-ahead",
    "issp.weights": "weights after the merge",
    "mask_data_fraction": "mask data fraction",
    "sparsity": "one-shot level",
    "finetune.epochs": "recovery epochs",
    "finetune.weights": "start of the recovery",
}

Point = tuple[tuple[int, float, str], ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A setting that differs from its anchor in one suspect."""

    suspect: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class Anchor:
    """A setting and what was varied around it, one thing at a time."""

    setting: Setting
    neighbours: tuple[Neighbour, ...]

    @property
    def suspects(self) -> set[str]:
        """What was varied."""
        return {n.suspect for n in self.neighbours}


def label(suspect: str) -> str:
    """A suspect in words; without a label its key."""
    return LABELS.get(suspect, suspect)


def suspect_of(column: str) -> str | None:
    """The suspect that a configuration column belongs to; None for other columns."""
    if column in _ROUNDS:
        return "issp.rounds"
    if column in ("mask_data_fraction", "sparsity") or column.startswith(_SUSPECT):
        return column
    return None


def value_of(setting: Setting, suspect: str, other: Setting | None = None) -> Any:
    """A setting's value of a suspect: a number, text, or `a=1, b=2` for several columns.

    Args:
        other: name only the columns in which the two settings differ.
    """
    columns = [c for c in setting.axes if suspect_of(c) == suspect]
    if other is not None:
        columns = [c for c in columns if point(setting.axes, [c]) != point(other.axes, [c])]
    if columns in ([suspect], []):
        return number_or_text(setting.axes.get(suspect))
    parts = (f"{c.partition('.')[2]}={number_or_text(setting.axes[c])}" for c in columns)
    return ", ".join(parts)


def varying_columns(results: pd.DataFrame) -> tuple[str, ...]:
    """Configuration columns with more than one value in the sweep, in a fixed order."""
    config = [c for c in map(str, results.columns) if c in BASE_AXES or c.startswith(_SECTIONS)]
    return tuple(sorted(c for c in config if results[c].map(str).nunique() > 1))


def read_settings(results: pd.DataFrame) -> list[Setting]:
    """Every setting of every arm, including trials that failed later, in a fixed order."""
    varying = varying_columns(results)
    measures = [c for m in (PRUNED, CONTROL, FINAL) for c in m.columns]
    columns = (*_IDENTITY, *_ALWAYS, *varying, *measures, *METRICS)
    trials = [
        with_deployed(r) for r in rows(results, columns)
        if r["arm"] is not None and r["seed"] is not None
    ]  # fmt: skip
    groups = grouped(trials, lambda r: place_of(r, varying))
    settings = [setting_of(group, (*varying, PRESET)) for group in groups]
    return sorted(settings, key=lambda s: (s.arm, point(s.axes, varying)))


def point(values: Mapping[str, Any], columns: Iterable[str]) -> Point:
    """A place in the sweep, sortable and hashable; text that is a number counts as the number."""
    return tuple(comparable(values.get(c)) for c in columns)


def measured(s: Setting) -> Setting:
    """The setting with only those trials that have an accuracy right after pruning."""
    trials = {k: r for k, r in s.first.items() if r[PRUNED.accuracy] is not None}
    return replace(s, first=trials)


def find_anchors(settings: Sequence[Setting]) -> list[Anchor]:
    """The settings with the most neighbours, the best of each reading first.

    A change of preset alters many `issp.*` keys and counts as one suspect. Only the setting of a
    reading with the most variation around it is compared with one setting of each other reading.

    Returns:
        At most MOST_ANCHORS; empty when no two settings differ in a single suspect.
    """
    pruned = [m for s in settings if s.arm in ISSP_ARMS and (m := measured(s)).first]
    columns = sorted({c for s in pruned for c in s.axes} - {PRESET})
    near = _near(pruned, columns)
    richest = sorted(pruned, key=lambda s: (-len(near[id(s)]), -len(s.first)))
    hubs = _hubs(richest, columns)
    anchors = [Anchor(s, (*near[id(s)], *_readings(s, hubs, richest, columns))) for s in pruned]
    ordered = sorted((a for a in anchors if a.neighbours), key=lambda a: -len(a.neighbours))
    return _chosen(ordered, near)


def typical(settings: Sequence[Setting]) -> Setting | None:
    """The representative setting: the one with the most variation around it, then more seeds."""
    near = _near(settings, sorted({c for s in settings for c in s.axes} - {PRESET}))
    return max(settings, key=lambda s: (len(near[id(s)]), len(s.first)), default=None)


def _near(settings: Sequence[Setting], columns: Sequence[str]) -> dict[int, tuple[Neighbour, ...]]:
    """Setting -> its neighbours of the same reading: equal in all columns but one suspect's."""
    suspects = sorted(
        {suspect_name for c in columns if (suspect_name := suspect_of(c)) is not None}
    )
    places: dict[tuple[Any, ...], list[Setting]] = {}
    where: dict[int, list[tuple[str, tuple[Any, ...]]]] = {id(s): [] for s in settings}
    for suspect in suspects:
        rest = [PRESET, *(c for c in columns if suspect_of(c) != suspect)]
        for s in settings:
            place = (suspect, s.arm, point(s.axes, rest))
            places.setdefault(place, []).append(s)
            where[id(s)].append((suspect, place))
    return {
        id(s): tuple(
            Neighbour(suspect, other)
            for suspect, place in where[id(s)] for other in places[place]
            if other is not s and s.seeds_with(other)
        )
        for s in settings
    }  # fmt: skip


def _hubs(settings: Sequence[Setting], columns: Sequence[str]) -> list[Setting]:
    """The first setting of every reading."""
    context = [PRESET, *(c for c in columns if suspect_of(c) is None)]
    best: dict[tuple[str, Point], Setting] = {}
    for s in settings:
        best.setdefault((s.arm, point(s.axes, context)), s)
    return list(best.values())


def _readings(
    setting: Setting,
    hubs: Sequence[Setting],
    settings: Sequence[Setting],
    columns: Sequence[str],
) -> list[Neighbour]:
    """For a hub: the first setting of every other reading that differs in nothing else.

    Args:
        settings: those with the most variation around them first.
        columns: a preset may change those of `issp.*`; the others must be equal.
    """
    if not any(h is setting for h in hubs):
        return []
    rest = [c for c in columns if not c.startswith("issp.")]
    here, own_reading = (setting.arm, point(setting.axes, rest)), point(setting.axes, [PRESET])
    others: dict[Point, Setting] = {}
    for other in settings:
        reading = point(other.axes, [PRESET])
        equal = reading != own_reading and (other.arm, point(other.axes, rest)) == here
        if equal and setting.seeds_with(other):
            others.setdefault(reading, other)
    return [Neighbour(PRESET, other) for other in others.values()]


def _chosen(ordered: Sequence[Anchor], near: Mapping[int, Sequence[Neighbour]]) -> list[Anchor]:
    """The first anchor; then the best of other readings; then other rich designs."""
    chosen: list[Anchor] = list(ordered[:1])
    for wanted in ("reading", "design"):
        for a in ordered:
            if any(a.setting is c.setting for c in chosen) or len(chosen) == MOST_ANCHORS:
                continue
            if wanted == "reading":
                reading = point(a.setting.axes, [PRESET])
                new = all(reading != point(c.setting.axes, [PRESET]) for c in chosen)
                beside = any(
                    reading == point(n.setting.axes, [PRESET]) for c in chosen for n in c.neighbours
                )
                new = new and (bool(near[id(a.setting)]) or not beside)
            else:
                new = _is_hub(a, near) and not any(_overlap(a, c) for c in chosen)
            if new:
                chosen.append(a)
    return chosen


def _is_hub(a: Anchor, near: Mapping[int, Sequence[Neighbour]]) -> bool:
    """Whether more was varied around it than around any neighbour; never true in a grid."""
    neighbours = near[id(a.setting)]
    beside = max((len(near[id(n.setting)]) for n in neighbours), default=0)
    return len(a.suspects) >= AROUND and len(neighbours) > beside


def _overlap(a: Anchor, b: Anchor) -> bool:
    """Whether one is a neighbour of the other, or both have the same masks."""
    if any(n.setting is a.setting for n in b.neighbours):
        return True
    stages = [{r[PRUNED.stage] for r in x.setting.first.values()} - {None} for x in (a, b)]
    return bool(stages[0]) and stages[0] == stages[1]
