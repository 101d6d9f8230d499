"""Why the denoised pruning collapses: one suspect at a time, against equally sparse controls.

`design.py` finds settings that differ in one suspect, `family.py` computes the intervals, and
`causes.py` puts the findings into words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.causes import sentences
from orchestrator.selection.contrasts import INFORMED
from orchestrator.selection.design import (
    Anchor,
    Neighbour,
    find_anchors,
    label,
    point,
    read_settings,
    suspect_of,
    value_of,
)
from orchestrator.selection.family import Family
from orchestrator.selection.losses import COLLAPSE, Effect, Loss
from orchestrator.selection.matching import Controls
from orchestrator.selection.pairs import (
    CONTROL,
    FINAL,
    PRUNED,
    Measure,
    Outcomes,
    Pair,
    between,
    to_dense,
)
from orchestrator.selection.rows import Row, mean
from orchestrator.selection.settings import Setting
from orchestrator.selection.statistics import Interval
from orchestrator.vocabulary import Metric
from trials.arms import MAGNITUDE, RANDOM_MASK

MOST_OUTCOMES = 300  # bounds what a report reads; further pairs are computed from counts
_AFTER_PRUNING = ("finetune.",)  # suspects that cannot change what is measured before them


@dataclass(frozen=True, slots=True)
class _Asked:
    """A setting with the places of its intervals in the family; empty = not asked for."""

    setting: Setting
    controls: Mapping[str, Mapping[Any, Row]]
    places: Mapping[str, int]


def diagnose(
    results: pd.DataFrame, confidence: float = 0.95, outcomes: Outcomes | None = None
) -> dict[str, Any] | None:
    """Rank the changes around each anchor by their effect, and say what caused the collapse.

    Effects are paired by seed and include image noise (`pairs.between`). All intervals that are
    shown hold at once (Bonferroni).

    Args:
        results: one row per trial, with its configuration.
        confidence: of all limits together.
        outcomes: which images each trial gets right, if they were read.

    Returns:
        None without a one-at-a-time design. Else `collapse` (anywhere), `limit`, `dense` (mean
        accuracy of the anchors' dense models), `family` (number of intervals), `anchors` (see
        `Loss`), `suspects` (see `Effect`; per anchor, the largest effect first), `controls`
        (accuracy of one-shot and random masks by sparsity) and `sentences`.
    """
    settings = read_settings(results)
    anchors = find_anchors(settings)
    if not anchors:
        return None
    controls, family = Controls(settings), Family(confidence)
    asked = [(_ask(a.setting, controls, family, outcomes, limits=True), a) for a in anchors]
    varied = [
        [(_ask(n.setting, controls, family, outcomes), _ask_effect(a, n, family, outcomes), n)
         for n in a.neighbours]
        for a in anchors
    ]  # fmt: skip
    limits = family.intervals()
    losses = [_loss(question, _name(a.setting, anchors), limits) for question, a in asked]
    effects = [
        _ranked([_effect(i, a, *change, limits, anchors) for change in changes])
        for i, (a, changes) in enumerate(zip(anchors, varied, strict=True))
    ]
    return _entry(losses, effects, family.size, controls.curve(anchors))


def _entry(
    losses: Sequence[Loss],
    effects: Sequence[Sequence[Effect]],
    family: int,
    controls: list[dict[str, Any]],
) -> dict[str, Any]:
    """`diagnosis` of summary.json."""
    ranked = [e for group in effects for e in group]
    return {
        "collapse": any(loss.collapsed for loss in (*losses, *(e.loss for e in ranked))),
        "limit": COLLAPSE,
        "dense": _mean_dense(losses),
        "family": family,
        "anchors": [loss.entry() for loss in losses],
        "suspects": [e.entry() for e in ranked],
        "controls": controls,
        "sentences": sentences(losses, effects),
    }


def needed_trials(results: pd.DataFrame) -> list[str]:
    """Keys of the trials whose outcomes make the comparisons exact, the anchors' first."""
    settings = read_settings(results)
    anchors = find_anchors(settings)
    around = [n.setting for a in anchors for n in a.neighbours]
    controls = Controls(settings)
    rows: list[Row] = []
    for s in (*(a.setting for a in anchors), *around):
        rows += s.first.values()
        for arm in INFORMED:
            rows += controls.like(s, arm, final=False).values()
    return list(dict.fromkeys(str(row["key"]) for row in rows))[:MOST_OUTCOMES]


def _ask(
    s: Setting,
    controls: Controls,
    family: Family,
    outcomes: Outcomes | None,
    limits: bool = False,
) -> _Asked:
    """Find a setting's controls; with `limits`, also ask for the intervals of its losses."""
    like = {
        "magnitude": controls.like(s, MAGNITUDE, final=False),
        "random": controls.like(s, RANDOM_MASK, final=False),
        "final_magnitude": controls.like(s, MAGNITUDE, final=True),
    }
    places: dict[str, int] = {}
    if limits:
        excess = _beyond(s, like["magnitude"], CONTROL, PRUNED, outcomes)
        final = _beyond(s, like["final_magnitude"], FINAL, FINAL, outcomes)
        trials = s.first.values()
        control = [to_dense(row, CONTROL) for row in like["magnitude"].values()]
        places = {
            "drop": family.add("drop", [to_dense(r, PRUNED) for r in trials]),
            "final_drop": family.add("final drop", [to_dense(r, FINAL) for r in trials]),
            "control_drop": family.add("control", control),
            "excess": family.add("excess", excess),
            "final_excess": family.add("final excess", final),
        }
    return _Asked(s, like, places)


def _beyond(
    setting: Setting,
    controls: Mapping[Any, Row],
    of_control: Measure,
    of_setting: Measure,
    outcomes: Outcomes | None,
) -> list[Pair | None]:
    """What the setting loses beyond its control, per seed."""
    return [between(row, setting.first[seed], of_control, of_setting, outcomes)
            for seed, row in controls.items()]  # fmt: skip


def _ask_effect(
    a: Anchor, n: Neighbour, family: Family, outcomes: Outcomes | None
) -> tuple[int | None, int]:
    """Places of the two effects: after pruning (None for a later change), and at the end."""
    seeds = a.setting.seeds_with(n.setting)
    couples = [(a.setting.first[s], n.setting.first[s]) for s in seeds]
    pruned = None
    if not n.suspect.startswith(_AFTER_PRUNING):
        pairs = [between(x, y, PRUNED, outcomes=outcomes) for x, y in couples]
        pruned = family.add("effect", pairs)
    final = [between(x, y, FINAL, outcomes=outcomes) for x, y in couples]
    return pruned, family.add("final effect", final)


def _loss(asked: _Asked, name: str, limits: Sequence[Interval | None]) -> Loss:
    trials = list(asked.setting.first.values())
    drops = {m: _mean_loss(to_dense(r, m) for r in trials) for m in (PRUNED, FINAL)}
    excess = {
        kind: _mean_loss(_beyond(asked.setting, asked.controls[kind], *measures, None))
        for kind, measures in (
            ("magnitude", (CONTROL, PRUNED)), ("random", (CONTROL, PRUNED)),
            ("final_magnitude", (FINAL, FINAL)),
        )
    }  # fmt: skip
    ends = {k: limits[i] for k, i in asked.places.items()}
    control = asked.controls["magnitude"].values()
    return Loss(
        name=name,
        arm=asked.setting.arm,
        n=sum(r[PRUNED.accuracy] is not None for r in trials),
        sparsity=mean(trials, Metric.ISSP_SPARSITY),
        dense=mean(trials, PRUNED.dense),
        accuracy=mean(trials, PRUNED.accuracy),
        final_accuracy=mean(trials, FINAL.accuracy),
        jaccard=mean(trials, Metric.DENOISE_JACCARD_MEAN),
        drop=drops[PRUNED],
        **_ends("drop", ends),
        final_drop=drops[FINAL],
        **_ends("final_drop", ends),
        control_drop=_mean_loss(to_dense(r, CONTROL) for r in control),
        **_ends("control_drop", ends),
        excess=excess["magnitude"],
        **_ends("excess", ends),
        final_excess=excess["final_magnitude"],
        **_ends("final_excess", ends),
        random_excess=excess["random"],
    )


def _mean_dense(anchors: Sequence[Loss]) -> float | None:
    accuracies = [anchor.dense for anchor in anchors if anchor.dense is not None]
    return sum(accuracies) / len(accuracies) if accuracies else None


def _ends(kind: str, limits: Mapping[str, Interval | None]) -> dict[str, Any]:
    interval = limits.get(kind)
    return {f"{kind}_low": interval and interval.low, f"{kind}_high": interval and interval.high}


def _mean_loss(pairs: Iterable[Pair | None]) -> float | None:
    losses = [p.loss for p in pairs if p is not None]
    return sum(losses) / len(losses) if losses else None


def _effect(
    number: int,
    a: Anchor,
    asked: _Asked,
    places: tuple[int | None, int],
    n: Neighbour,
    limits: Sequence[Interval | None],
    anchors: Sequence[Anchor],
) -> Effect:
    pruned = None if places[0] is None else limits[places[0]]
    final = limits[places[1]]
    return Effect(
        anchor=number,
        suspect=n.suspect,
        label=label(n.suspect),
        value=value_of(n.setting, n.suspect, a.setting),
        anchor_value=value_of(a.setting, n.suspect, n.setting),
        n=len(a.setting.seeds_with(n.setting)),
        **_gain("effect_pruned", "", pruned),
        **_gain("effect_final", "final_", final),
        loss=_loss(asked, _name(n.setting, anchors), limits),
    )


def _gain(field: str, prefix: str, loss: Interval | None) -> dict[str, Any]:
    """A loss from anchor to variant as an effect: positive = the variant is better."""
    low, high = (loss.high, loss.low) if loss else (None, None)
    return {
        field: None if loss is None else -loss.mean or 0.0,
        f"{prefix}low": None if low is None else -low or 0.0,
        f"{prefix}high": None if high is None else -high or 0.0,
    }


def _ranked(effects: Sequence[Effect]) -> list[Effect]:
    """The largest effect first; see `Effect.size`."""
    return sorted(effects, key=lambda e: (-round(e.size, 12), e.suspect, str(e.value)))


def _name(s: Setting, anchors: Sequence[Anchor]) -> str:
    """An anchor in words: its reading, its arm, and what else distinguishes it from the others."""
    preset = s.axes.get("issp.preset")
    others = [a.setting for a in anchors if a.setting is not s]
    apart = [
        c for c in s.axes if suspect_of(c) is not None and c != "issp.preset"
        and any(o.axes.get("issp.preset") == preset and o.arm == s.arm
                and point(o.axes, [c]) != point(s.axes, [c]) for o in others)
    ]  # fmt: skip
    extra = "".join(f", {label(c)} {value_of(s, suspect_of(c) or c)}" for c in apart[:3])
    reading = f"{preset} reading" if preset else "setting"
    return f"the {reading} ({s.arm}{extra})"
