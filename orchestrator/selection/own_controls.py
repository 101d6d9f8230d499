"""What controls a system: the same at equal counts, chosen by chance or by less.

Equal counts are as many tokens in every block, as many patches, or as many weights, with equal
fine-tuning.
"""

from collections.abc import Callable, Iterator, Sequence

from orchestrator.selection.contrasts import differ_in_method, differ_in_one_thing
from orchestrator.selection.families import CHANCE, MERGE, METRIC, System
from orchestrator.selection.settings import same_sparsity
from orchestrator.vocabulary import Metric
from trials.arms import BASE_AXES, BY_NAME, CONTROLS, RANDOM_MASK, SYSTEM_CONTROLS, Family

_PRUNING = ("issp.", "essential.")


def own_controls(system: System, systems: Sequence[System]) -> list[System]:
    """The settings that control a system: one of each kind, the best fitting first."""
    if system.control or system.family is None:
        return []
    mine = system.setting
    found: dict[str, System] = {}
    for other in systems:
        fits = _FITS[system.family](system, other)
        if other.control and fits and mine.seeds_with(other.setting):
            found.setdefault(other.name, other)
    return list(found.values())


def _equal_tokens(system: System, other: System) -> bool:
    """As many tokens in every block, chosen or paired otherwise; all else is equal."""
    if system.family != other.family or system.trained != other.trained:
        return False
    if system.combined and system.setting.arm != other.setting.arm:
        return False
    if other.method == system.method:
        return _agree(system, other, {METRIC, MERGE})
    if other.method == CHANCE and system.method == "evit":
        return differ_in_method(system.setting, other.setting)
    chosen_by = {axis for axis in system.setting.axes if axis.startswith("reduction.")}
    known = system.tokens is not None and system.tokens == other.tokens
    return other.method == CHANCE and known and _agree(system, other, chosen_by)


def _equal_patches(system: System, other: System) -> bool:
    pairs = {(mine, theirs) for mine, theirs, _ in SYSTEM_CONTROLS}
    return (
        (system.setting.arm, other.setting.arm) in pairs
        and bool(system.config["patch_drop"])
        and differ_in_method(system.setting, other.setting)
    )


def _equal_weights(system: System, other: System) -> bool:
    """As many weights kept, and recovered alike; how they were chosen may differ in everything."""
    chosen_by = {axis for axis in system.setting.axes if axis.startswith(_PRUNING)}
    mine, theirs = (s.setting.mean[Metric.FINAL_SPARSITY] for s in (system, other))
    return (
        other.family == "weights"
        and None not in (mine, theirs)
        and same_sparsity(mine, theirs)
        and _agree(system, other, {*chosen_by, *BASE_AXES})
    )


def _part_of_lotus(system: System, other: System) -> bool:
    arm = BY_NAME.get(other.setting.arm)
    return (
        system.family == other.family
        and arm is not None
        and arm.control
        and differ_in_one_thing(system.setting, other.setting)
    )


def _agree(a: System, b: System, ignored: set[str]) -> bool:
    mine, theirs = a.setting.axes, b.setting.axes
    return all(
        axis in ignored or None in (value, theirs.get(axis)) or value == theirs[axis]
        for axis, value in mine.items()
    )


_FITS: dict[Family, Callable[[System, System], bool]] = {
    "tokens": _equal_tokens,
    "tickets": _equal_patches,
    "weights": _equal_weights,
    "lotus": _part_of_lotus,
    "combined": _equal_tokens,
}


def without_control(system: System) -> str | None:
    """What to add to the sweep file for a control of a system that has none; None for controls."""
    if system.control or system.family is None:
        return None
    return next(_missing(system))


def _missing(system: System) -> Iterator[str]:
    if system.method == "evit":
        yield "add `random` to `reduction.method`, at the same `reduction.keep` and `fuse`"
    if system.method == "tome":
        yield "add `reduction.metric: [random]`, which merges pairs by chance at the same `r`"
    if system.method == "dynamicvit":
        yield (
            "add `reduction.method: [random]` with `reduction.count: [initial]` at the same "
            "`reduction.keep`"
        )
    controls = [theirs for mine, theirs, _ in SYSTEM_CONTROLS if mine == system.setting.arm]
    if system.family == "tickets" and controls:
        yield f"add `{controls[0]}` to `search.arm`, at the same `patch_drop`"
    if system.family == "weights":
        yield (
            f"add `{RANDOM_MASK}` to `search.arm`, with the same final sparsity as "
            "`issp.target_sparsity` and `patch_drop: [0]`"
        )
    yield f"add `{'`, `'.join(CONTROLS)}` to `search.arm`, at the same point"
