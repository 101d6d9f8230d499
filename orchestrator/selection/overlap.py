"""How much the masks of a sweep overlap: across seeds, data fractions and levels.

For every pair of masks that differ in exactly one of these: the Jaccard index of the kept weights,
|a ∩ b| / |a ∪ b|, in all layers and layer by layer, next to that of two independent random masks of
the same densities. At most MOST_MASKS masks are read; the table alone determines which. Weights are
counted on packed bits.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.selection.rows import Row, distinct, rows
from orchestrator.vocabulary import Metric
from trials.arms import ISSP_ARMS, MASK_DATA, SPARSITY
from trials.formats import PackedMask

VARIED = {"seed": "seed", "fraction": MASK_DATA, "level": SPARSITY}
MOST_MASKS = 60
PER_FAMILY = 6  # masks that differ in one thing; 15 pairs

Family = list[tuple[float, str]]
"""Masks that differ in one thing only: its value, and the run with the mask."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A packed keep-mask, with the number of kept weights of each tensor."""

    bits: PackedMask
    kept: dict[str, int]

    @classmethod
    def of(cls, bits: PackedMask) -> "Mask":
        """Count a packed mask."""
        return cls(bits, {name: _ones(packed) for name, (packed, _) in bits.items()})

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(packed.nbytes for packed, _ in self.bits.values())

    @property
    def sizes(self) -> dict[str, int]:
        """Tensor -> number of weights."""
        return {name: size for name, (_, size) in self.bits.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two masks of one model. Jaccard indices are fractions.

    Attributes:
        random: that of independent random masks of the same densities,
            d1 d2 / (d1 + d2 - d1 d2), a ratio of expectations: exact for many weights.
        layers: layer -> (its Jaccard index, that of random masks of the layer's densities).
    """

    jaccard: float
    random: float
    layers: dict[str, tuple[float, float]]


def mask_families(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, list[Family]]:
    """What varies -> the families of masks in which nothing else varies, in a fixed order.

    Masks are identified by their stage (`stage.issp`), so trials that share one, such as those that
    differ in the patch drop only, count once.
    """
    table_rows = rows(table, ("run_id", "key", "arm", "status", "stage.issp", "patch_drop",
                         *VARIED.values(), *axes))  # fmt: skip
    trials = [r for r in table_rows if r["status"] == "FINISHED" and r["arm"] in ISSP_ARMS]
    owner: dict[str, str] = {}
    for trial in trials:
        trial["mask"] = owner.setdefault(trial["stage.issp"] or trial["key"], trial["run_id"])
    same = ("arm", "patch_drop", *VARIED.values(), *axes)
    return {
        kind: _families(trials, axis, [s for s in same if s != axis])
        for kind, axis in VARIED.items()
    }


def _families(trials: Sequence[Row], axis: str, same: Sequence[str]) -> list[Family]:
    groups: dict[str, dict[float, str]] = defaultdict(dict)
    for trial in trials:
        if trial[axis] is not None:
            place = json.dumps([trial[s] for s in same], default=str)
            groups[place].setdefault(round(float(trial[axis]), 9), trial["mask"])
    families = [sorted(groups[place].items()) for place in sorted(groups)]
    unique = {tuple(f): f for f in families if len({mask for _, mask in f}) > 1}
    return list(unique.values())


def chosen_runs(families: Mapping[str, Sequence[Family]]) -> list[str]:
    """At most MOST_MASKS runs to read: PER_FAMILY of each family, the kinds in turn."""
    runs: dict[str, None] = {}
    longest = max((len(f) for f in families.values()), default=0)
    for number in range(longest):
        for kind in families.values():
            for _, run in kind[number][:PER_FAMILY] if number < len(kind) else ():
                if len(runs) < MOST_MASKS:
                    runs.setdefault(run)
    return list(runs)


def overlap(a: Mask, b: Mask) -> Overlap | None:
    """Compare two masks; None when they are not of the same model."""
    if a.sizes != b.sizes:
        return None
    counts = {  # kept by both, by a, by b; number of weights
        name: (_ones(bits & b.bits[name][0]), a.kept[name], b.kept[name], size)
        for name, (bits, size) in a.bits.items()
    }
    total = tuple(sum(c[i] for c in counts.values()) for i in range(4))
    return Overlap(
        jaccard=_jaccard(*total[:3]),
        random=_random(*total[1:]),
        layers={n: (_jaccard(*c[:3]), _random(*c[1:])) for n, c in counts.items()},
    )


def _ones(bits: NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def _jaccard(both: int, a: int, b: int) -> float:
    either = a + b - both
    return both / either if either else 1.0


def _random(a: int, b: int, size: int) -> float:
    if not a and not b:
        return 1.0
    mine, theirs = a / size, b / size
    return mine * theirs / (mine + theirs - mine * theirs)


@dataclass(frozen=True, slots=True)
class _Pair:
    varies: str
    between: tuple[float, float]
    runs: tuple[str, str]
    overlap: Overlap


def _pairs(families: Mapping[str, Sequence[Family]], masks: Mapping[str, Mask]) -> Iterator[_Pair]:
    """Every pair of read masks that differ in one thing, once."""
    seen: set[tuple[str, str, str]] = set()
    for varies, kind in families.items():
        for family in kind:
            read = [(value, run) for value, run in family if run in masks]
            for (low, first), (high, second) in combinations(read, 2):
                mark = (varies, first, second)
                if first != second and mark not in seen:
                    seen.add(mark)
                    measured = overlap(masks[first], masks[second])
                    if measured is not None:
                        yield _Pair(varies, (low, high), (first, second), measured)


def summarised(
    table: pd.DataFrame,
    families: Mapping[str, Sequence[Family]],
    masks: Mapping[str, Mask],
) -> dict[str, Any]:
    """The overlap in groups of pairs, and by layer.

    Pairs share masks and are not independent, so a group has a range instead of an interval.

    Returns:
        groups: {varies, between, n_pairs, n_masks, mean, lowest, highest, random}; `between`
            is None for all pairs of a kind, else the two values of fraction or level; the kind
            `ingredients` is the mean Jaccard index among the ingredients of one denoised mask.
        layers: {layer, seed, fraction, level, random}, means over the pairs of each kind (None
            where there are none) and over all pairs for `random`.
    """
    pairs = list(_pairs(families, masks))
    groups = []
    for varies in VARIED:
        mine = [p for p in pairs if p.varies == varies]
        split = sorted({p.between for p in mine}) if varies != "seed" else []
        groups += [_group(varies, None, mine)] if mine else []
        if len(split) > 1:
            groups += [_group(varies, b, [p for p in mine if p.between == b]) for b in split]
    return {"groups": [*groups, *_ingredients(table)], "layers": _layers(pairs)}


def _group(varies: str, between: tuple[float, float] | None, pairs: Sequence[_Pair]) -> Row:
    values = [p.overlap.jaccard for p in pairs]
    return {
        "varies": varies,
        "between": list(between) if between else None,
        "n_pairs": len(pairs),
        "n_masks": len({run for p in pairs for run in p.runs}),
        "mean": float(np.mean(values)),
        "lowest": min(values),
        "highest": max(values),
        "random": float(np.mean([p.overlap.random for p in pairs])),
    }


def _ingredients(table: pd.DataFrame) -> list[Row]:
    """The overlap among ingredients, over the distinct denoised masks of the sweep."""
    table_rows = rows(table, ("key", "status", "stage.denoise", Metric.DENOISE_JACCARD_MEAN))
    measured = [r for r in table_rows if r["status"] == "FINISHED"]
    measured = [r for r in measured if r[Metric.DENOISE_JACCARD_MEAN] is not None]
    masks = distinct(measured, lambda r: r["stage.denoise"] or r["key"])
    values = [float(r[Metric.DENOISE_JACCARD_MEAN]) for r in masks]
    if not values:
        return []
    return [{
        "varies": "ingredients", "between": None, "n_pairs": None, "n_masks": len(values),
        "mean": float(np.mean(values)), "lowest": min(values), "highest": max(values),
        "random": None,
    }]  # fmt: skip


def _layers(pairs: Sequence[_Pair]) -> list[Row]:
    layers = list(dict.fromkeys(layer for p in pairs for layer in p.overlap.layers))
    overlap = []
    for layer in layers:
        here = [(p.varies, *p.overlap.layers[layer]) for p in pairs if layer in p.overlap.layers]
        row: Row = {"layer": layer}
        for varies in VARIED:
            indices = [jaccard for kind, jaccard, _ in here if kind == varies]
            row[varies] = float(np.mean(indices)) if indices else None
        overlap.append(row | {"random": float(np.mean([random for *_, random in here]))})
    return overlap
