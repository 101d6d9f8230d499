"""Whether DynamicViT's predictors keep the share of the patches that they train for.

In training that share is a soft goal; at inference it is cut exactly. Far from the goal, a model
has been trained with other numbers of tokens than it runs with.
"""

import re
from collections.abc import Iterator

import pandas as pd

from orchestrator.selection.rows import Row, rows
from orchestrator.selection.settings import number_or_text
from orchestrator.vocabulary import REDUCED_EPOCHS, Metric, of

FAR = 0.05
"""Of the patches that enter."""

KEPT = of(REDUCED_EPOCHS, "kept_")


def predictor_warnings(results: pd.DataFrame) -> Iterator[str]:
    """A sentence where trainings ended farther than FAR from their goal."""
    stages = [name for name in map(str, results.columns) if re.fullmatch(rf"{KEPT}\d+", name)]
    settings = ("name", "reduction.keep", "reduction.count", Metric.TICKETS_KEPT_PATCHES)
    found = [
        (gap, str(row["name"]))
        for row in rows(results, (*settings, *stages))
        if (gap := _gap(row, stages)) is not None
    ]
    far = [one for one in found if one[0] > FAR]
    if far:
        worst, name = max(far)
        yield (
            f"In {len(far)} of {len(found)} trainings DynamicViT's predictors ended more than "
            f"{100 * FAR:g} points of the patches away from the share that they train for "
            f"({100 * worst:.1f} in {name}): such a model runs with other numbers of tokens than "
            "it was trained with. Train longer, or raise `reduction.ratio_weight`."
        )


def _gap(row: Row, stages: list[str]) -> float | None:
    """The largest over the stages; None where nothing was predicted, or the goal is not known."""
    kept = {name: row[name] for name in stages if row[name] is not None}
    keep = number_or_text(row["reduction.keep"])
    ticketed = row[Metric.TICKETS_KEPT_PATCHES] is not None
    if not kept or not isinstance(keep, int | float):
        return None
    if ticketed and row["reduction.count"] != "entering":
        return None
    return max(
        abs(float(share) - keep ** int(name.removeprefix(KEPT))) for name, share in kept.items()
    )
