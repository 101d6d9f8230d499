"""The tables of arms against each other, and of mask overlap, as text."""

import math
from collections.abc import Sequence
from typing import Any

from dashboards.arms import Arms
from dashboards.tables import AXES, Cell, Table, num, table
from dashboards.text import (
    DASH,
    amount,
    clean,
    level,
    number,
    plural,
    points,
    points_interval,
)

LIMITS = ("models", "models_corrected", "seeds", "seeds_corrected")
FAMILIES = {
    "against_dense": "Against the dense arm, with equal fine-tuning",
    "against_controls": "Against a control, at matching settings",
    "after_pruning": "Right after pruning, at equal sparsity",
}
KINDS = {
    "seed": "Seeds",
    "fraction": "Mask data fractions",
    "level": "Sparsity levels",
    "ingredients": "Ingredients of one mask",
}
_MASKS = {"issp": "ISSP mask"}


def comparisons_table(summary: dict[str, Any]) -> Table:
    """A row per comparison: a minus b, uncorrected and corrected, and the verdict."""
    arms = Arms.of(summary)
    rows = [_comparison(c, arms) for c in summary.get("comparisons") or []]
    heads = ("Compared", "First", "Second", "At", "Split", "Seeds", "Images", "Difference, points")
    more = ("These models", "All at once", "Other seeds", "All at once ", "The first is")
    return Table((*heads, *more), tuple(rows)) if rows else Table((), ())


def _comparison(c: dict[str, Any], arms: Arms) -> tuple[Cell, ...]:
    family = str(c.get("family"))

    def label(arm: Any) -> str:
        mask = _MASKS.get(str(arms.mask(arm))) if family == "after_pruning" else None
        return mask or arms.short(arm)

    return (
        Cell(FAMILIES.get(family, clean(family, 100))),
        Cell(label(c.get("a")), None, "arm"),
        Cell(label(c.get("b")), None, "arm"),
        Cell(place_words(c.get("setting_a") or {}, c.get("setting_b") or {})),
        Cell(clean(c.get("split"), 40)),
        num(amount(c.get("n")), c.get("n")),
        num(amount(c.get("n_images")), c.get("n_images")),
        num(points(c.get("mean")), c.get("mean")),
        *(num(points_interval(c.get(f"{k}_low"), c.get(f"{k}_high"))) for k in LIMITS),
        Cell(verdict_words(c), None, "arm"),
    )


def verdict_words(c: dict[str, Any]) -> str:
    """`equal within 0.7 points (other seeds)`; if undecided, also what would decide."""
    verdict, scope = clean(c.get("verdict"), 40), clean(c.get("scope"), 40)
    within = number(c.get("equal_within"))
    if verdict == "equal" and within is not None:
        verdict = f"equal within {bound(within)}"
    would = clean(c.get("would_decide"), 200)
    if verdict == "undecided" and would:
        return f"undecided: {would} ({scope})"
    return f"{verdict} ({scope})" if scope else verdict


def bound(size: float) -> str:
    """A bound in points, rounded up so that it still holds: 0.0072 -> `0.8 points`."""
    tenths = math.ceil(round(1000 * size, 6))
    return f"{tenths / 10:.1f} point{'' if tenths == 10 else 's'}"


def place_words(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The settings in short: `s 30 %, d 10 %, f 10 %`; the first one's values take precedence."""
    letters = dict(zip(AXES, ("s", "d", "f"), strict=True))
    both = {**theirs, **{axis: v for axis, v in mine.items() if v is not None}}
    parts = [
        f"{letters[axis]}\u00a0{level(v)}"
        if axis in letters
        else f"{clean(axis, 60)} {clean(v, 60)}"
        for axis, v in both.items()
        if v is not None
    ]
    return ", ".join(parts) or DASH


def comparisons_note(summary: dict[str, Any]) -> str:
    """The number of comparisons in each family."""
    comparisons = summary.get("comparisons") or []
    counts = {f: sum(c.get("family") == f for c in comparisons) for f in FAMILIES}
    parts = [f"{title.lower()}: {counts[f]}" for f, title in FAMILIES.items() if counts[f]]
    return "; ".join(parts)


def overlap_table(summary: dict[str, Any]) -> Table:
    """A row per kind of pair, and per pair of values if there are several."""
    rows = [_group(g) for g in (summary.get("overlap") or {}).get("groups") or []]
    heads = ("What differs", "Between", "Pairs", "Masks", "Jaccard, mean", "Lowest to highest")
    return Table((*heads, "Random masks"), tuple(rows)) if rows else Table((), ())


def _group(g: dict[str, Any]) -> tuple[Cell, ...]:
    kind = str(g.get("varies"))
    return (
        Cell(KINDS.get(kind, clean(kind, 60)), None, "arm"),
        num(_between(g.get("between") or [])),
        num(amount(g.get("n_pairs")), g.get("n_pairs")),
        num(amount(g.get("n_masks")), g.get("n_masks")),
        num(share(g.get("mean")), g.get("mean")),
        num(_range(g.get("lowest"), g.get("highest"))),
        num(share(g.get("random")), g.get("random")),
    )


def one_shot_table(summary: dict[str, Any]) -> Table:
    """A row per reading of ISP and sparsity: its masks beside one-shot masks of equal sparsity."""
    rows = [
        (
            Cell(clean(r.get("system"), 80), None, "arm"),
            num(level(r.get("sparsity")), r.get("sparsity")),
            num(amount(r.get("n_pairs")), r.get("n_pairs")),
            num(share(r.get("jaccard")), r.get("jaccard")),
            num(_range(r.get("jaccard_lowest"), r.get("jaccard_highest"))),
            num(share(r.get("shared")), r.get("shared")),
            num(_range(r.get("shared_lowest"), r.get("shared_highest"))),
            num(share(r.get("random")), r.get("random")),
        )
        for r in (summary.get("overlap") or {}).get("one_shot") or []
    ]
    heads = ("Pruned by", "Sparsity", "Pairs", "Jaccard, mean", "Lowest to highest")
    more = ("Kept by both, share", "Lowest to highest ", "Jaccard of random masks")
    return table((*heads, *more), rows)


def share(value: Any) -> str:
    """A Jaccard index: `0.873`, or a dash."""
    x = number(value)
    return DASH if x is None else f"{x:.3f}"


def _range(low: Any, high: Any) -> str:
    return DASH if number(low) is None else f"{share(low)} to {share(high)}"


def _between(values: Sequence[Any]) -> str:
    return " and ".join(level(v) for v in values) or "all"


def overlap_note(summary: dict[str, Any]) -> str:
    """The number of compared pairs, in words."""
    groups = (summary.get("overlap") or {}).get("groups") or []
    whole = [g for g in groups if not g.get("between") and g.get("varies") != "ingredients"]
    pairs = sum(int(number(g.get("n_pairs")) or 0) for g in whole)
    return plural(pairs, "pair")
