import numpy as np
import pandas as pd

from dashboards import tables


def test_a_missing_column_is_nan_and_text_is_no_number() -> None:
    frame = pd.DataFrame({"a": ["0.5", "x", None, np.inf]})
    assert tables.numbers(frame, "b").isna().all()
    np.testing.assert_array_equal(tables.numbers(frame, "a"), [0.5, np.nan, np.nan, np.nan])
    assert list(tables.words(frame, "a")) == ["0.5", "x", "", "inf"]


def test_arms_stand_in_the_order_of_the_paper_and_unknown_ones_last() -> None:
    arms = ["zebra", "magnitude", "lotus", "ant", "dense"]
    assert sorted(arms, key=tables.arm_rank) == ["dense", "lotus", "magnitude", "ant", "zebra"]
