from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboards import style
from dashboards.figures.issp_by_fraction import FIGURE, shown_levels


def by_fraction(**row: Any) -> dict[str, Any]:
    """A summary with the same row at two fractions."""
    usual = {"stage": "issp", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    return {"by_mask_data": [usual | row | {"fraction": f} for f in (0.1, 1.0)]}


def test_one_fraction_or_none_is_no_comparison() -> None:
    assert FIGURE.drawing({}) is None
    assert FIGURE.drawing({"by_mask_data": by_fraction(sparsity=0.3)["by_mask_data"][:1]}) is None


def test_many_sparsities_are_thinned_evenly() -> None:
    table = pd.DataFrame({"sparsity": np.arange(11) / 20})
    assert shown_levels(table) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_sparsity_that_each_trial_finds_is_a_line_too() -> None:
    rows = [row for s in ("auto", 0.3) for row in by_fraction(sparsity=s)["by_mask_data"]]
    assert shown_levels(pd.DataFrame(rows)) == [0.3, "auto"]
    with style.drawing_rules():
        assert FIGURE.drawing({"by_mask_data": rows}) is not None


def test_equal_accuracies_that_are_rounded_to_different_sides_are_drawn() -> None:
    mean = 0.1 + 0.2  # a little above 0.3
    with style.drawing_rules():
        assert FIGURE.drawing(by_fraction(sparsity=0.3, mean=mean, low=mean, high=0.3)) is not None
