"""The answer of a sweep in a few sentences, the same on every screen.

Essential sparsity: what one-shot pruning may remove. One-shot level: where a setting's first mask
stands. Final sparsity: what its model has lost in the end. All are fractions of the prunable
weights.
"""

from typing import Any

from orchestrator.selection.curve import CURVE_COLUMNS, EssentialSparsity
from orchestrator.selection.recommendation import Recommended, in_words
from orchestrator.selection.rows import Row, rows
from orchestrator.selection.verdicts import level, points_of, ratio, share

ARM_WORDS = {
    "tickets": "Tickets only",
    "essential": "One-shot pruning only",
    "issp": "ISSP on all patches",
    "lotus": "LOTUS",
}


def answer(essential: EssentialSparsity | None, best: Recommended | None) -> dict[str, str | None]:
    """`answer` of summary.json.

    Returns:
        `essential` (how much may be removed), `recommended` (which setting), `saves` (what it
        saves), `costs` (in accuracy, and how sure that is); None for what there is not.
    """
    return {
        "essential": essential_words(essential),
        "recommended": setting_words(best) if best else None,
        "saves": saving_words(best) if best else None,
        "costs": in_words(best) if best else None,
    }


def essential_words(found: EssentialSparsity | None) -> str:
    """How much one-shot pruning may remove, and from which level on it may not."""
    if found is None:
        return "The essential sparsity was not measured."
    drops = {
        round(p["sparsity"], 9): p["drop"]
        for p in rows(found.curve, CURVE_COLUMNS) if p["drop"] is not None
    }  # fmt: skip
    tolerated = points_of(found.tolerance)
    value, beyond = found.bracket
    if beyond is None:
        return (
            f"At least {level(value)} of the prunable weights can be removed in one shot within "
            f"{tolerated}: no level measured loses more{_interval(found)}."
        )
    lost = _lost(drops.get(round(beyond, 9)))
    if value == 0:
        return (
            f"Already {level(beyond)} of the prunable weights, the lowest level, {lost} in one "
            f"shot, more than {tolerated}{_interval(found)}."
        )
    return (
        f"Up to {level(value)} of the prunable weights can be removed in one shot within "
        f"{tolerated}; {level(beyond)} cannot ({lost}){_interval(found)}."
    )


def _lost(drop: float | None) -> str:
    return "loses an unknown share" if drop is None else f"loses {100 * drop:.1f} points"


def _interval(found: EssentialSparsity) -> str:
    if found.low is None:
        return f"; the interval is too wide to say ({found.scope})"
    ends = level(found.low), "the highest level" if found.high is None else level(found.high)
    if ends[0] == ends[1]:
        ends = share(found.low), share(found.high)
    between = f"above {ends[0]}" if found.high is None else f"from {ends[0]} to {ends[1]}"
    return f"; {100 * found.confidence:g} % interval {between}, {found.scope}"


def setting_words(best: Recommended | Row) -> str:
    """`LOTUS: one-shot level 30 %, final sparsity 70 %, 10 % of the patches dropped, …`."""
    row: Any = best if isinstance(best, dict) else None

    def of(name: str) -> Any:
        return row.get(name) if row is not None else getattr(best, name)

    parts = []
    if of("sparsity") is not None:
        parts.append(f"one-shot level {level(of('sparsity'))}")
    if of("final_sparsity"):
        parts.append(f"final sparsity {level(of('final_sparsity'))}")
    if of("patch_drop"):
        parts.append(f"{level(of('patch_drop'))} of the patches dropped")
    if of("mask_data_fraction") is not None:
        parts.append(f"masks from {level(of('mask_data_fraction'))} of the data")
    further = {
        k: v for k, v in (of("setting") or {}).items()
        if k not in ("sparsity", "patch_drop", "mask_data_fraction") and v is not None
    }  # fmt: skip
    parts += [f"{name} {value}" for name, value in further.items()]
    arm = ARM_WORDS.get(of("arm"), of("arm"))
    return f"{arm}: {', '.join(parts)}" if parts else str(arm)


def saving_words(best: Recommended) -> str:
    """What it saves at inference, and what it does not."""
    whole = best.macs_ratio_kept is not None and best.macs_ratio_kept >= 1 - 1e-9
    zeros = "Zeros alone speed nothing up"
    removed = f"{level(best.final_sparsity)} of the prunable weights are zero"
    if best.macs_ratio is None:
        return f"{removed}. {zeros}."
    if whole:
        return f"{removed}; multiply-accumulates (MACs) as dense. {zeros}."
    speed = ""
    if best.images_per_s_ratio is not None:
        speed = f", measured {ratio(best.images_per_s_ratio)} images/s"
    chosen = ""
    if best.macs_ratio_kept is not None and best.macs_ratio - best.macs_ratio_kept > 1e-9:
        chosen = (
            f"; choosing them costs {ratio(best.macs_ratio - best.macs_ratio_kept)} more, so "
            f"{ratio(best.macs_ratio)} in all where nobody else has chosen them"
        )
    return (
        f"{removed}. On the kept patches {ratio(best.macs_ratio_kept)} the MACs of dense{speed}"
        f"{chosen}. {zeros}."
    )
