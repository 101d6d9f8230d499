"""Sentences about controls that do as well as the arm that they test."""

from collections.abc import Iterator, Sequence
from itertools import product

from orchestrator.selection.arms import ArmRow, Setting
from orchestrator.selection.comparisons import TESTS, ArmComparison, agree
from orchestrator.selection.curve import TIE
from orchestrator.selection.statistics import mean_interval, wilson


def control_warnings(
    settings: Sequence[Setting],
    arms: Sequence[ArmRow],
    comparisons: Sequence[ArmComparison],
    confidence: float,
) -> Iterator[str]:
    """One sentence for each control that the fullest arm does not beat.

    From the paired comparison where there is one; where a control's outcomes were not kept,
    from the accuracies on validation, at settings that it and lotus both have.
    """
    paired = {c.b: c for c in comparisons if c.family == "against_controls"}
    for control in TESTS:
        if control in paired:
            yield from _paired(paired[control])
        else:
            yield from _unpaired(settings, arms, control, confidence)


def _paired(c: ArmComparison) -> Iterator[str]:
    if c.verdict == "better":
        return
    said = "cannot be told apart" if c.verdict == "not told apart" else "differ the wrong way"
    yield _sentence(
        f"{c.a} and its control `{c.b}` {said}: the difference on {c.split}, paired by image",
        (c.mean, c.corrected_low, c.corrected_high),
        f"n = {c.n}, corrected for {c.family_size} comparisons",
        c.b,
    )


def _sentence(start: str, values: tuple[float, float, float], counted: str, control: str) -> str:
    mean, low, high = (f"{100 * v:+.1f}" for v in values)
    return (
        f"{start}, is {mean} points, interval {low} to {high}, {counted}. This sweep does not "
        f"show that {TESTS[control][1]} helps."
    )


def _unpaired(
    settings: Sequence[Setting], arms: Sequence[ArmRow], control: str, confidence: float
) -> Iterator[str]:
    margins = _margins(settings, control, TESTS[control][0])
    if not margins:
        return
    spread = mean_interval(margins, confidence)
    width = _image_half_width(settings, arms, confidence)
    if spread.high is not None:  # two seeds may agree by chance: never under the image noise
        width = max(width, spread.high - spread.mean)
    low, high = spread.mean - width, spread.mean + width
    if low <= TIE:
        yield _sentence(
            f"lotus and its control `{control}` cannot be told apart: the difference on "
            "validation, by accuracies alone",
            (spread.mean, low, high),
            f"n = {len(margins)}",
            control,
        )


def _margins(settings: Sequence[Setting], control: str, axis: str) -> list[float]:
    """Per seed: lotus minus control, averaged over the settings that agree where both have one."""
    lotus, theirs = (
        [s for s in settings if s.arm == arm and s.axes[axis] != 0] for arm in ("lotus", control)
    )
    margins: dict[object, list[float]] = {}
    for a, b in product(lotus, theirs):
        if not agree(a, b):
            continue
        accuracy = {t["seed"]: t["final/val_accuracy"] for t in b.trials}
        for trial in a.trials:
            if (seed := trial["seed"]) in accuracy:
                margins.setdefault(seed, []).append(trial["final/val_accuracy"] - accuracy[seed])
    return [sum(m) / len(m) for m in margins.values()]


def _image_half_width(
    settings: Sequence[Setting], arms: Sequence[ArmRow], confidence: float
) -> float:
    best = next(a for a in arms if a.arm == "lotus")
    counts = [n for s in settings if (n := s.mean["dense/val_n"])]
    if not counts:
        return 0.0
    low, high = wilson(best.val_accuracy_mean, min(counts), confidence)
    return (high - low) / 2
