"""The answer of a sweep in a few sentences, the same on every screen.

Essential sparsity: what one-shot pruning may remove. One-shot level: where a setting's first mask
stands. Final sparsity: what its model has lost in the end. All are fractions of the prunable
weights.
"""

from orchestrator.selection.curve import CURVE_COLUMNS, EssentialSparsity
from orchestrator.selection.recommendation import Recommended
from orchestrator.selection.rows import rows
from orchestrator.selection.verdicts import level, points_of, ratio, share
from orchestrator.selection.wording import in_words, to_be_surer
from trials.arms import BASE_AXES, BY_NAME


def answer(essential: EssentialSparsity | None, best: Recommended | None) -> dict[str, str | None]:
    """`answer` of summary.json: whole sentences.

    Returns:
        `essential` (how much may be removed), `recommended` (which setting), `saves` (what it
        saves), `costs` (in accuracy, and how sure that is), `surer` (what would make it surer);
        None for what was not measured.
    """
    return {
        "essential": essential_words(essential),
        "recommended": f"{_standing(best)}: {setting_words(best)}." if best else None,
        "saves": saving_words(best) if best else None,
        "costs": in_words(best) if best else None,
        "surer": to_be_surer(best) if best else None,
    }


def essential_words(essential: EssentialSparsity | None) -> str:
    """How much one-shot pruning may remove, and from which level on it may not."""
    if essential is None:
        return "The essential sparsity was not measured."
    losses = {
        round(p["sparsity"], 9): p["drop"]
        for p in rows(essential.curve, CURVE_COLUMNS) if p["drop"] is not None
    }  # fmt: skip
    value, beyond = essential.bracket
    tolerated = points_of(essential.tolerance)
    at, after = (_lost(losses.get(round(x or 0.0, 9))) for x in (value, beyond))
    if essential.detector != "first_violation":
        sentence = (
            f"The essential sparsity is {level(value)} by the detector "
            f"{essential.detector.replace('_', ' ')}: removing that much of the prunable weights "
            f"in one shot loses {at} {essential.when}"
        )
        sentence += f"; at {level(beyond)} the loss is {after}" if beyond is not None else ""
    elif value == 0:
        sentence = (
            f"The essential sparsity is below {level(beyond)}, the lowest level measured: removing "
            f"that much of the prunable weights in one shot already loses {after}, more than the "
            f"tolerated {tolerated}"
        )
    elif beyond is None:
        sentence = (
            f"The essential sparsity is at least {level(value)}, the highest level measured: even "
            "that much of the prunable weights can be removed in one shot for a loss of at most "
            f"{tolerated}, {essential.when}"
        )
    else:
        sentence = (
            f"The essential sparsity is {level(value)}: that much of the prunable weights can be "
            f"removed in one shot for a loss of at most {tolerated}, {essential.when}; at "
            f"{level(beyond)} the loss is {after}"
        )
    return f"{sentence}. {_limits(essential)}"


def _lost(drop: float | None) -> str:
    if drop is None:
        return "an unknown amount"
    size = f"{100 * drop:.1f}"
    return f"{size} point{'' if size == '1.0' else 's'}"


def _limits(essential: EssentialSparsity) -> str:
    if essential.low is None:
        return f"For {essential.scope}, its interval is too wide to give."
    ends = level(essential.low), level(essential.high)
    if ends[0] == ends[1]:  # narrower than a tenth of a percent
        ends = share(essential.low), share(essential.high)
    where = f"above {ends[0]}" if essential.high is None else f"between {ends[0]} and {ends[1]}"
    return (
        f"For {essential.scope}, it lies {where} with {100 * essential.confidence:g} % confidence."
    )


def _standing(best: Recommended) -> str:
    """How the setting is introduced, depending on what was shown about it."""
    within = f"within {points_of(best.tolerance)} of dense"
    if best.verdict == "shown":
        return "Recommended"
    if best.chosen == "best on validation":
        return f"No setting is {within} on validation; the most accurate"
    if best.verdict == "exceeded":
        return f"Cheapest candidate by validation, but on test not {within}"
    return f"Cheapest candidate, not shown to be {within}"


def setting_words(best: Recommended) -> str:
    """`LOTUS (one-shot level 30 %, final sparsity 70 %, 10 % of the patches dropped, ...)`.

    Further axes are those that the trial's name names: what its block of the search says.
    """
    parts = []
    if best.sparsity is not None:
        parts.append(f"one-shot level {level(best.sparsity)}")
    if best.final_sparsity:
        parts.append(f"final sparsity {level(best.final_sparsity)}")
    if best.patch_drop:
        parts.append(f"{level(best.patch_drop)} of the patches dropped")
    if best.mask_data_fraction is not None:
        parts.append(f"masks from {level(best.mask_data_fraction)} of the data")
    arm_row = BY_NAME.get(best.arm)
    parts += [
        f"{axis} {value}"
        for axis, value in best.setting.items()
        if axis not in BASE_AXES and value is not None and f"-{axis}=" in (best.name or "")
        and (arm_row is None or arm_row.concerned(axis))
    ]  # fmt: skip
    arm = best.arm if arm_row is None else arm_row.label
    return f"{arm} ({', '.join(parts)})" if parts else arm


def saving_words(best: Recommended) -> str:
    """What the setting saves at inference, and what it does not."""
    zeros = ""
    if best.final_sparsity:
        zeros = (
            f" {level(best.final_sparsity)} of the prunable weights are zero, which by itself "
            "speeds nothing up."
        )
    kept_ratio, total_ratio = best.macs_ratio_kept, best.macs_ratio
    if kept_ratio is None or total_ratio is None:
        return f"Its multiply-accumulates (MACs) were not measured.{zeros}"
    if not best.patch_drop and abs(total_ratio - 1) <= 1e-9:
        return f"It keeps all patches and needs the multiply-accumulates (MACs) of dense.{zeros}"
    start = "On the patches that it keeps" if best.patch_drop else "With fewer tokens inside"
    sentence = f"{start} it needs {ratio(kept_ratio)} the multiply-accumulates (MACs) of dense"
    if best.images_per_s_ratio is not None:
        sentence += f", and does {ratio(best.images_per_s_ratio)} as many images/s (measured)"
    if total_ratio - kept_ratio > 1e-9:
        sentence += (
            f". Choosing the patches costs another {ratio(total_ratio - kept_ratio)}: "
            f"{ratio(total_ratio)} in all, unless they are known beforehand"
        )
    if total_ratio >= 1:
        sentence = f"Nothing as it stands. {sentence}"
    return f"{sentence}.{zeros}"


def model_words(n: int) -> str:
    """Which of a setting's models is kept and exported."""
    return "its only seed" if n == 1 else f"the median of its {n} seeds on validation"
