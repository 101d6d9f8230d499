from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboards.figures.issp_by_fraction import FIGURE, shown_levels


def by_fraction(**row: Any) -> dict[str, Any]:
    """A summary with the same row at two fractions."""
    usual = {"stage": "issp", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    return {"by_mask_data": [usual | row | {"fraction": f} for f in (0.1, 1.0)]}


def test_one_fraction_or_none_is_no_comparison() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data({"by_mask_data": by_fraction(sparsity=0.3)["by_mask_data"][:1]}) is None


def test_many_sparsities_are_thinned_evenly() -> None:
    table = pd.DataFrame({"sparsity": np.arange(11) / 20})
    assert shown_levels(table) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_sparsity_that_each_trial_finds_is_a_line_too() -> None:
    rows = [row for s in ("auto", 0.3) for row in by_fraction(sparsity=s)["by_mask_data"]]
    assert shown_levels(pd.DataFrame(rows)) == [0.3, "auto"]
    drawing = FIGURE.drawing({"by_mask_data": rows})
    assert drawing is not None
    assert {row[1] for row in drawing.table.rows} == {"30\u00a0% sparsity", "auto sparsity"}


def test_the_title_says_what_fewer_data_change() -> None:
    rows = by_fraction(sparsity=0.3)["by_mask_data"]
    rows[0]["mean"] = 0.45
    assert FIGURE.draw(FIGURE.data({"by_mask_data": rows})).title.replace("\u00a0", " ") == (
        "Masks from 10 % of the data instead of 100 % change accuracy by −5.0 points right after "
        "ISSP"
    )
