"""The published claims of the seed systems against what a sweep measured.

A claim is read at its strongest published level that was run, on test, paired by seed and image.
The intervals of one paper's claims hold together (Bonferroni). Data and model are the sweep's own,
so `not reproduced` contradicts no paper.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.selection.analysis import Analysis
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import Contrast, against_reference
from orchestrator.selection.design import PRESET
from orchestrator.selection.families import FUSE, WITHOUT_LOOK_AHEAD, System, one_shot
from orchestrator.selection.judges import JUDGES, LEVEL, Claimed, untested
from orchestrator.selection.pairs import FINAL, Outcomes
from orchestrator.selection.published import PUBLISHED, Published, Which
from orchestrator.selection.published_verdicts import verdict_of
from orchestrator.selection.scopes import Difference
from orchestrator.selection.settings import TEST, preference
from orchestrator.selection.statistics import Interval
from orchestrator.selection.verdicts import (
    between,
    level,
    percent,
    percent_points,
    signed,
)
from orchestrator.vocabulary import Metric
from trials.arms import BASE_AXES


@dataclass(frozen=True, slots=True)
class Match:
    """Two settings at one published level."""

    published: Published
    at: float
    a: System
    b: System | None
    contrast: Contrast


def claimed(analysis: Analysis, systems: Sequence[System]) -> list[dict[str, Any]]:
    """Every claim of `PUBLISHED` with its verdict, in that order; see `Claimed`."""
    spreads, outcomes = Spreads(analysis.settings), analysis.outcomes or {}
    measured = {
        match.published.id: (match, gap)
        for match in matches(systems)
        if (gap := _gap(match, spreads, outcomes)) is not None
    }
    sizes = Counter(match.published.source for match, _ in measured.values())
    found = []
    for p in PUBLISHED:
        if p.id in measured:
            match, gap = measured[p.id]
            each = 1 - (1 - analysis.confidence) / sizes[p.source]
            one = _judged(match, gap, each, analysis.tolerance)
        else:
            judge = JUDGES.get(p.id)
            one = (judge(p, analysis) if judge else None) or _untested(p, systems)
        found.append(asdict(one))
    return found


def matches(systems: Sequence[System]) -> Iterator[Match]:
    """What decides each claim, chosen by validation and settings alone."""
    for p in PUBLISHED:
        mine = [s for s in systems if p.a is not None and _is(s, p.a)]
        theirs = [s for s in systems if p.b is not None and _is(s, p.b)]
        for at in sorted(p.levels, reverse=p.axis != "reduction.keep"):
            here = list(_at(p, at, mine, theirs, systems))
            if here:
                # Of several readings the preferred one, then most seeds, then the best.
                yield min(here, key=lambda m: (*_order(p, m), *preference(m.a.setting)))
                break


def _order(p: Published, m: Match) -> tuple[int, int]:
    presets = p.a.presets if p.a else ()
    preset = str(m.a.config[PRESET])
    place = presets.index(preset) if preset in presets else 0
    return place, -len(m.a.setting.seeds_with(m.contrast.b))


def _at(
    p: Published,
    at: float,
    mine: Sequence[System],
    theirs: Sequence[System],
    systems: Sequence[System],
) -> Iterator[Match]:
    for a in mine:
        if not _has_level(a, p, at):
            continue
        if p.b is None:
            reference = against_reference(a.setting, [s.setting for s in systems])
            if reference.a is not reference.b:
                yield Match(p, at, a, None, reference)
        for b in theirs:
            if _has_level(b, p, at) and _alike(a, b):
                pair = Contrast(
                    family="side_by_side", a=a.setting, b=b.setting, of_a=FINAL, of_b=FINAL
                )
                yield Match(p, at, a, b, pair)


def _is(s: System, which: Which) -> bool:
    if which.method is not None:
        return (
            s.family == "tokens"
            and not s.control
            and s.method == which.method
            and which.trained in (None, s.trained)
            and which.fuse in (None, str(s.config[FUSE]) == "True")
        )
    if which.presets:
        preset, looks = s.config[PRESET], s.config["issp.steps"] not in (0, None)
        as_meant = preset not in WITHOUT_LOOK_AHEAD or not looks
        return s.family == "weights" and s.is_issp and preset in which.presets and as_meant
    return s.family == "weights" and (s.control if which.mask == "chance" else one_shot(s))


def _has_level(s: System, p: Published, at: float) -> bool:
    value = s.setting.mean[Metric.FINAL_SPARSITY] if p.axis == "sparsity" else s.config[p.axis]
    return isinstance(value, int | float) and abs(value - at) <= LEVEL


def _alike(a: System, b: System) -> bool:
    """Whether two settings are trained alike on the same seeds."""
    other = a.setting.seeds_with(b.setting) and all(
        axis in BASE_AXES or axis.startswith(("reduction.", "issp.", "essential."))
        or None in (value, b.setting.axes.get(axis)) or value == b.setting.axes[axis]
        for axis, value in a.setting.axes.items()
    )  # fmt: skip
    return bool(other)


def _gap(match: Match, spreads: Spreads, outcomes: Outcomes) -> Difference | None:
    return spreads.difference(match.contrast, match.contrast.pairs(outcomes))


def _judged(match: Match, gap: Difference, confidence: float, tolerance: float) -> Claimed:
    p = match.published
    found = gap.interval(gap.scope, confidence)
    verdict, why = verdict_of(p, match.at, found, tolerance)
    known = found.low is not None and found.high is not None
    smallest = (found.high - found.low) / 2 if known else None  # type: ignore[operator]
    if verdict == "undecided":
        seen = f"at least {percent_points(smallest)}" if known else "unknown"
        why += f"; the smallest difference that this sweep could have seen is {seen}"
    return replace(
        untested(p),
        at=match.at,
        ours=_ours(match, gap, found),
        n=gap.n,
        mean=found.mean,
        low=found.low,
        high=found.high,
        scope=gap.scope,
        smallest=smallest,
        verdict=verdict,
        why=why,
    )


def _ours(match: Match, gap: Difference, found: Interval) -> str:
    other = match.b.name if match.b else "dense"
    limits = ""
    if found.low is not None and found.high is not None:
        limits = f" (interval {between(found.low, found.high)}, {gap.scope})"
    return (
        f"{match.a.name} at {level_words(match.published, match.at)}: "
        f"{percent(match.a.setting.mean[TEST])} on test, {signed(gap.mean)} points to {other}"
        f"{limits}, n = {gap.n}"
    )


def level_words(p: Published, at: float) -> str:
    """`keep 0.7`, `r 13`, `70 % sparsity`."""
    if p.axis == "sparsity":
        return f"{level(at)} sparsity"
    return f"{p.axis.removeprefix('reduction.')} {at:g}"


def _levels_words(p: Published, levels: Sequence[float]) -> str:
    """`keep 0.65`, `60 %, 70 % and 80 % sparsity`."""
    whole = [level_words(p, at) for at in sorted(levels)]
    start, _, unit = whole[0].rpartition(" ")
    if p.axis == "sparsity":
        numbers, before, after = [w.removesuffix(f" {unit}") for w in whole], "", f" {unit}"
    else:
        numbers, before, after = [w.rpartition(" ")[2] for w in whole], f"{start} ", ""
    listed = " and ".join(part for part in (", ".join(numbers[:-1]), numbers[-1]) if part)
    return f"{before}{listed}{after}"


def _untested(p: Published, systems: Sequence[System]) -> Claimed:
    """The claim with the reason why it was not tested."""
    near = [s for s in systems if p.a is not None and _is(s, p.a)]
    ran = sorted({v for s in near if (v := _level_of(s, p)) is not None})
    missing = not any(_has_level(s, p, at) for s in near for at in p.levels)
    if near and ran and missing:
        shown, published = (_levels_words(p, values) for values in (ran, [*p.levels]))
        return replace(untested(p), why=f"this sweep ran {shown}; published is {published}")
    return replace(untested(p), why=f"needs {p.needs}")


def _level_of(s: System, p: Published) -> float | None:
    value = s.setting.mean[Metric.FINAL_SPARSITY] if p.axis == "sparsity" else s.config[p.axis]
    return round(float(value), 3) if isinstance(value, int | float) else None
