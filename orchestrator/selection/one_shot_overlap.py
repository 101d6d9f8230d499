"""What the masks of ISP's readings have in common with one-shot masks that keep as many weights.

Both masks are of one dense model and one sparsity. With as many weights kept, the share of them
that both keep is also the cosine of the two masks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.selection.design import PRESET
from orchestrator.selection.families import System, one_shot, systems_of
from orchestrator.selection.overlap import Mask, overlap
from orchestrator.selection.rows import Row
from orchestrator.selection.settings import Setting, same_sparsity
from orchestrator.vocabulary import Metric

MOST_PAIRS = 40


@dataclass(frozen=True, slots=True)
class Couple:
    """A mask of ISP and a one-shot mask of the same dense model, by their runs."""

    system: str
    preset: str
    sparsity: float
    runs: tuple[str, str]


def couples(table: pd.DataFrame, settings: Sequence[Setting]) -> list[Couple]:
    """At most MOST_PAIRS couples of equal sparsity and seed; the systems in turn."""
    systems = [s for s in systems_of(table, settings) if s.family == "weights"]
    once = [s for s in systems if one_shot(s)]
    by_system = [list(_couples(s, once)) for s in systems if s.is_issp]
    longest = max(map(len, by_system), default=0)
    turns = [found[i] for i in range(longest) for found in by_system if i < len(found)]
    return turns[:MOST_PAIRS]


def _couples(system: System, once: Sequence[System]) -> Iterator[Couple]:
    mine = system.setting
    sparsity = mine.mean[Metric.FINAL_SPARSITY]
    for other in once:
        theirs = other.setting
        if sparsity is None or not same_sparsity(sparsity, theirs.mean[Metric.FINAL_SPARSITY]):
            continue
        shared = [
            (mine.first[seed], theirs.first[seed])
            for seed in mine.seeds_with(theirs)
            if mine.first[seed]["stage.dense"] == theirs.first[seed]["stage.dense"]
        ]
        for a, b in shared:
            runs, preset = (str(a["run_id"]), str(b["run_id"])), str(system.config[PRESET])
            yield Couple(system.name, preset, round(float(sparsity), 6), runs)
        if shared:
            return


def measured(found: Sequence[Couple], masks: Mapping[str, Mask]) -> list[Row]:
    """The overlap of each system with one-shot, at each sparsity.

    Pairs of one system share nothing but the model, and are few: a range stands instead of an
    interval.

    Returns:
        system, preset, sparsity, n_pairs; jaccard, jaccard_lowest, jaccard_highest; shared (of the
        kept weights) with its lowest and highest; random (Jaccard of random masks).
    """
    places: dict[tuple[str, str, float], list[tuple[float, float, float]]] = {}
    for couple in found:
        mine, theirs = (masks.get(run) for run in couple.runs)
        both = overlap(mine, theirs) if mine is not None and theirs is not None else None
        if both is not None:
            # |a ∩ b| / |a| of masks that keep as many, from |a ∩ b| / |a ∪ b|.
            shared = 2 * both.jaccard / (1 + both.jaccard)
            place = (couple.system, couple.preset, couple.sparsity)
            places.setdefault(place, []).append((both.jaccard, shared, both.random))
    return [_row(place, values) for place, values in places.items()]


def _row(place: tuple[str, str, float], values: Sequence[tuple[float, float, float]]) -> Row:
    jaccard, shared, random = (np.array(column) for column in zip(*values, strict=True))
    row: dict[str, Any] = dict(zip(("system", "preset", "sparsity"), place, strict=True))
    return row | {
        "n_pairs": len(values),
        "jaccard": float(jaccard.mean()),
        "jaccard_lowest": float(jaccard.min()),
        "jaccard_highest": float(jaccard.max()),
        "shared": float(shared.mean()),
        "shared_lowest": float(shared.min()),
        "shared_highest": float(shared.max()),
        "random": float(random.mean()),
    }
