import numpy as np
import pandas as pd

from dashboards import tables


def test_a_missing_column_is_nan_and_text_is_no_number() -> None:
    frame = pd.DataFrame({"a": ["0.5", "x", None, np.inf]})
    assert tables.numbers(frame, "b").isna().all()
    np.testing.assert_array_equal(tables.numbers(frame, "a"), [0.5, np.nan, np.nan, np.nan])
    assert list(tables.words(frame, "a")) == ["0.5", "x", "", "inf"]


def test_a_table_has_no_column_that_says_nothing() -> None:
    rows = [(tables.num("1", 1), tables.Cell(text)) for text in ("", tables.DASH)]
    assert tables.table(("n", "empty"), rows).heads == ("n",)
    assert tables.axis_cells({"patch_drop": 0.1})[1].value == 0.1
