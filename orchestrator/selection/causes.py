"""The diagnosis in words: what collapsed, what cures it, and what is not the cause.

Every statement about a cause rests on simultaneous limits, never on a mean alone.
"""

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.selection.losses import COLLAPSE, Effect, Loss, collapses
from orchestrator.selection.verdicts import between, signed

HALF = 0.5  # "more than 50 % of the weights", LOTUS
SAME = 0.01  # sparsities this near are called the same
_LIMIT = f"{100 * COLLAPSE:g} points"


def sentences(anchors: Sequence[Loss], effects: Sequence[Sequence[Effect]]) -> list[str]:
    """The findings of the diagnosis, the answer first.

    Args:
        anchors: at least one.
        effects: for each anchor, the effects of the changes to it.
    """
    lines = [_answer(anchors, effects)]
    for anchor, changes in zip(anchors, effects, strict=True):
        lines += [*_state(anchor), *_causes(anchor, changes), *_told(anchor, changes)]
        lines += _data(anchor, changes)
    return lines


def _answer(anchors: Sequence[Loss], effects: Sequence[Sequence[Effect]]) -> str:
    shown = [*anchors, *(e.loss for group in effects for e in group)]
    unique = list({(loss.name, loss.sparsity, loss.accuracy, loss.final_accuracy): loss
                   for loss in shown}.values())  # fmt: skip
    bad = [loss for loss in unique if loss.collapsed]
    if not bad:
        worst = max((loss.drop or 0.0 for loss in unique), default=0.0)
        return (
            f"The collapse did not appear: none of {len(unique)} settings is more than {_LIMIT} "
            f"below dense, right after pruning or after fine-tuning (largest loss right after "
            f"pruning: {_points(worst)})."
        )
    stay = sum(collapses(loss.final_drop) for loss in bad)
    return (
        f"The collapse appeared: {len(bad)} of {len(unique)} settings are more than {_LIMIT} "
        f"below dense right after pruning or after fine-tuning; {stay} of them still are after "
        "fine-tuning."
    )


def _state(a: Loss) -> Iterator[str]:
    if a.drop is None:
        return
    removed = "" if a.sparsity is None else f" removes {_percent(a.sparsity)} of the weights and"
    verdict = "a collapse" if collapses(a.drop) else "no collapse"
    limits = _limits(a.drop_low, a.drop_high)
    text = f"{_upper(a.name)}{removed} loses {_points(a.drop)} right after pruning ("
    text += f"{limits}n = {a.n}): {verdict}."
    if a.final_drop is not None:
        after = _limits(a.final_drop_low, a.final_drop_high).rstrip(", ")
        text += f" After fine-tuning it loses {_points(a.final_drop)} on test"
        text += f" ({after})." if after else "."
    yield text


def _causes(a: Loss, effects: Sequence[Effect]) -> Iterator[str]:
    if not collapses(a.drop):
        brought = [e for e in effects if collapses(e.loss.drop) and e.verdict == "worse"]
        if brought:
            yield f"Single changes that bring the collapse about: {_listed(brought)}."
        return
    yield _sparsity(a)
    cures = [e for e in effects if not collapses(e.loss.drop) and e.verdict == "better"
             and e.effect_pruned is not None]  # fmt: skip
    if not cures:
        yield "No single change cures it with certainty."
        return
    yield f"Single changes that cure it: {_listed(cures)}."
    yield _conclusion(a, cures)


def _sparsity(a: Loss) -> str:
    """Whether the sparsity explains the collapse, judged by the control at the same sparsity."""
    past = a.sparsity is not None and a.sparsity > HALF
    what = "Pruning past 50 %" if past else "The sparsity"
    if a.control_drop is None or a.drop is None:
        return (
            f"{what}: no one-shot control at the same sparsity was run, so how much of the loss "
            "is the sparsity itself cannot be said."
        )
    split = (
        f"plain one-shot magnitude at the same sparsity loses {_points(a.control_drop)} "
        f"({_limits(a.control_drop_low, a.control_drop_high)}"
        f"{100 * a.control_drop / a.drop:.0f} % of the loss) and the denoised mask adds "
        f"{_points(a.excess)}"
    )
    limits = _limits(a.excess_low, a.excess_high).rstrip(", ")
    split += f" ({limits})" if limits else ""
    if a.control_drop_low is not None and a.control_drop_low > COLLAPSE:
        return f"{what} is a cause: {split}."
    if a.control_drop_high is not None and a.control_drop_high < COLLAPSE:
        return f"{what} is not the cause: {split}."
    return f"{what} may be a cause, the interval does not decide: {split}."


def _conclusion(a: Loss, cures: Sequence[Effect]) -> str:
    """What the cures have in common."""
    less = [e for e in cures if e.loss.sparsity is not None and a.sparsity is not None
            and e.loss.sparsity < a.sparsity - SAME]  # fmt: skip
    changes = ", ".join(dict.fromkeys(e.label for e in cures if e not in less))
    if len(less) == len(cures):
        return (
            "Cause: how much is pruned. Every change that cures it removes fewer weights than "
            f"the {_percent(a.sparsity)} here; none cures it at this sparsity."
        )
    if not less:
        return f"Cause: how the mask is found ({changes}). It is cured without pruning less."
    return (
        f"Causes: how the mask is found ({changes}), which cures it without pruning less, and how "
        "much is pruned, which the other cures lower."
    )


def _told(a: Loss, effects: Sequence[Effect]) -> Iterator[str]:
    """Which suspects have an effect, and which effects cannot be told from zero."""
    told = {e.suspect for e in effects if e.verdict != "undecided"}
    labels = {e.suspect: e.label for e in effects}
    with_effect = [labels[s] for s in labels if s in told]
    without = [labels[s] for s in labels if s not in told]
    parts = []
    if with_effect:
        parts.append(f"an effect told from zero: {', '.join(with_effect)}")
    if without:
        parts.append(f"none that can be told from zero: {', '.join(without)}")
    if parts:
        yield f"Around {a.name}, {'; '.join(parts)}."


def _data(a: Loss, effects: Sequence[Effect]) -> Iterator[str]:
    """Whether too little data for the mask is the cause."""
    data_effects = [
        e for e in effects if e.suspect == "mask_data_fraction" and e.effect_pruned is not None
    ]
    if not data_effects:
        return
    far = max(data_effects, key=lambda e: abs(float(e.value) - float(e.anchor_value)))
    gain, low, high = far.effect_pruned or 0.0, far.low, far.high
    first, last = float(far.anchor_value), float(far.value)
    if first > last:
        first, last = last, first
        gain, low, high = -gain, _minus(high), _minus(low)
    limits = _limits(low, high, sign=True)
    text = (
        f"From mask data fraction {first:g} to {last:g} the effect right after pruning is "
        f"{signed(gain)} points ({limits}n = {far.n})"
    )
    yield f"{text}: {_data_verdict(a, far, low, high)}."


def _data_verdict(a: Loss, far: Effect, low: float | None, high: float | None) -> str:
    few = far.loss if float(far.value) < float(far.anchor_value) else a
    many = a if few is far.loss else far.loss
    if not collapses(few.drop):
        if low is not None and low > 0:
            return "more data helps, and there is no collapse to explain"
        return "no gain from more data can be told from zero, and no collapse to explain"
    needed = (few.drop or 0.0) - COLLAPSE
    if low is not None and low > 0 and not collapses(many.drop):
        return "“too little data” is the cause, for more of it cures the collapse"
    if high is not None and high < needed:
        return (
            f"“too little data” is not the cause, {_points(needed)} would be needed to leave "
            "the collapse"
        )
    return "whether “too little data” is the cause cannot be decided"


def _listed(effects: Iterable[Effect]) -> str:
    lines = []
    for e in effects:
        limits = _limits(e.low, e.high, sign=True)
        sparse = "" if e.loss.sparsity is None else f", {_percent(e.loss.sparsity)} sparse"
        lines.append(
            f"{e.words} ({signed(e.effect_pruned or 0.0)} points, {limits}n = {e.n}{sparse})"
        )
    return "; ".join(lines)


def _points(value: float | None) -> str:
    return "an unknown loss" if value is None else f"{100 * value:.1f} points"


def _percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.3g} %"


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _limits(low: float | None, high: float | None, sign: bool = False) -> str:
    """`interval +1.0 to +2.0, `, or nothing without limits."""
    if low is None or high is None:
        return ""
    return f"interval {between(low, high, '+z' if sign or low < 0 else 'z')}, "


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
