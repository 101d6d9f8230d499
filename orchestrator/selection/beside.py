"""Two sweeps beside each other: the settings that both have, and how much they differ there.

A difference is that of the deployed test accuracies, B minus A, paired by seed. Where both sweeps
looked at the same images it is paired by image as well, so that the interval is exact; its limits
hold for all shared settings at once (Bonferroni). On other images nothing is compared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.selection.pairs import FINAL, Bits, Outcomes, Pair, between, together
from orchestrator.selection.rows import Row, average
from orchestrator.selection.scopes import (
    OTHER_SEEDS,
    THESE_MODELS,
    Difference,
    difference,
    needed,
    verdict,
)
from orchestrator.selection.settings import TEST, Setting, group_settings, preference
from trials.arms import NAMES


def settings_of(
    a: pd.DataFrame, b: pd.DataFrame, axes: Sequence[str]
) -> tuple[list[Setting], list[Setting]]:
    """The settings of two sweeps, distinguished by the same axes.

    Args:
        axes: further axes of either sweep; one that a sweep lacks has no value there.
    """
    tables = (a.copy(), b.copy())
    for table in tables:
        for axis in axes:
            if axis not in table:
                table[axis] = None
    return group_settings(tables[0], axes), group_settings(tables[1], axes)


def shared_trials(a: Sequence[Setting], b: Sequence[Setting]) -> tuple[list[str], list[str]]:
    """Keys of the trials whose outcomes `beside` reads, of each sweep."""
    pairs = _shared(a, b)
    return _keys(s for s, _ in pairs), _keys(s for _, s in pairs)


def _keys(settings: Any) -> list[str]:
    return [str(t["key"]) for s in settings for t in s.trials if t["key"] is not None]


def _shared(a: Sequence[Setting], b: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    """Settings that both have, in the order of arms, then by the accuracy of A."""
    theirs = {s.place: s for s in b}
    order = {arm: i for i, arm in enumerate(NAMES)}
    found = [(s, theirs[s.place]) for s in a if s.place in theirs]
    return sorted(found, key=lambda p: (order.get(p[0].arm, len(order)), preference(p[0])))


def beside(
    a: Sequence[Setting],
    b: Sequence[Setting],
    outcomes: tuple[Outcomes, Outcomes],
    same_images: bool,
    confidence: float = 0.95,
    margin: float = 0.01,
) -> dict[str, Any]:
    """Compare two sweeps setting by setting.

    Args:
        outcomes: of A and of B, for the trials of `shared_trials`.
        same_images: whether both were tested on the same images.
        margin: differences up to this count as equal, a fraction.

    Returns:
        `shared` (a row for each shared setting), `only_a` and `only_b` (numbers of settings),
        `compared` (settings with a difference), `same_images`.
    """
    pairs = _shared(a, b)
    gaps = [
        _difference(x, y, outcomes) if same_images and not _same_models(x, y) else None
        for x, y in pairs
    ]
    compared = sum(gap is not None for gap in gaps)
    each = 1 - (1 - confidence) / max(1, compared)
    return {
        "shared": [_row(x, y, gap, each, margin) for (x, y), gap in zip(pairs, gaps, strict=True)],
        "only_a": len(a) - len(pairs),
        "only_b": len(b) - len(pairs),
        "compared": compared,
        "same_images": same_images,
    }


def _difference(a: Setting, b: Setting, outcomes: tuple[Outcomes, Outcomes]) -> Difference | None:
    """B minus A over the seeds that both have; None without any."""
    mine, theirs = a.by_seed(), b.by_seed()
    by_seed = []
    for seed in a.seeds_with(b):
        found = [_pair(y, x, outcomes) for x in mine[seed] for y in theirs[seed]]
        if measured := [pair for pair in found if pair is not None]:
            by_seed.append(together(measured))
    return difference(by_seed)


def _pair(b: Row, a: Row, outcomes: tuple[Outcomes, Outcomes]) -> Pair | None:
    """One seed of both sweeps, by image where outcomes are known.

    Counts against the dense model are left out, because the two sweeps may have other dense models.
    """
    uncounted = {FINAL.lost: None, FINAL.gained: None}
    known: Mapping[str, Mapping[str, Bits]] = {
        f"a {a['key']}": outcomes[0].get(str(a["key"]), {}),
        f"b {b['key']}": outcomes[1].get(str(b["key"]), {}),
    }
    return between(
        b | uncounted | {"key": f"b {b['key']}"},
        a | uncounted | {"key": f"a {a['key']}"},
        FINAL,
        outcomes=known,
    )


def _row(a: Setting, b: Setting, gap: Difference | None, each: float, margin: float) -> Row:
    seeds = a.seeds_with(b)
    means = [average([s.first[seed] for seed in seeds], (TEST,))[TEST] for s in (a, b)]
    row: Row = {"arm": a.arm, "setting": dict(a.axes), "n": len(seeds)}
    row |= {"test_accuracy_a": means[0], "test_accuracy_b": means[1]}
    row |= {"same_models": _same_models(a, b)}
    empty = ("difference", "n_images", "scope", "verdict", "equal_within", "would_decide")
    row |= dict.fromkeys((*empty, "models_low", "models_high", "seeds_low", "seeds_high"))
    if gap is None:
        return row
    models, others = (gap.interval(scope, each) for scope in (THESE_MODELS, OTHER_SEEDS))
    outcome, within = verdict(others if gap.scope == OTHER_SEEDS else models, margin)
    row |= {"difference": gap.mean, "n_images": gap.n_images, "scope": gap.scope}
    row |= {"models_low": models.low, "models_high": models.high}
    row |= {"seeds_low": others.low, "seeds_high": others.high}
    row |= {"verdict": outcome, "equal_within": within}
    if outcome == "undecided":
        row["would_decide"] = needed(gap, gap.scope, each, margin).words(gap.n_images)
    return row


def _same_models(a: Setting, b: Setting) -> bool:
    """Whether both have the very same fine-tuned models, so that nothing is left to compare."""
    found = [
        (a.first[seed].get(FINAL.stage), b.first[seed].get(FINAL.stage)) for seed in a.seeds_with(b)
    ]
    return bool(found) and all(mine is not None and mine == theirs for mine, theirs in found)
