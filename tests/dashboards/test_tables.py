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


def test_a_longer_word_needs_a_wider_table_and_a_name_does_not() -> None:
    def least(text: str, kind: str = "") -> int:
        return tables.Table(
            ("a", "b"), ((tables.Cell(text, None, kind), tables.Cell("1")),)
        ).least_px

    assert least("word word") == least("word") < least("wordword" * 4)
    assert least("x" * 300, "name") == least("x", "name")
    assert least("x") % 20 == 0


def test_values_keep_all_digits_beside_their_text() -> None:
    table = tables.values(("a", "b"), [(0.123456, "<b>"), (12_345.0, None)])
    assert [[c.text for c in row] for row in table.rows] == [["0.1235", "<b>"], ["12,345", "–"]]
    assert [row[0].value for row in table.rows] == [0.123456, 12_345.0]
