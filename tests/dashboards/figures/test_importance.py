"""TEST DATA, made up."""

from dashboards.figures.importance import FIGURE

FOUND = {
    "arm": "lotus",
    "n": 36,
    "axes": [{"axis": "sparsity", "share": 0.6}, {"axis": "issp.merge", "share": 0.1}],
}


def test_without_shares_nothing_is_drawn() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data({"importance": None}) is None


def test_each_axis_has_a_bar_and_what_is_left_has_one() -> None:
    plot = FIGURE.draw(FIGURE.data({"importance": FOUND}))
    assert plot.table.rows == (
        ("One-shot level", 60.0),
        ("issp.merge", 10.0),
        ("Together, and the rest", 30.0),
    )
    assert plot.title.replace("\u00a0", " ") == (
        "One-shot level alone explains 60 % of the variance between settings"
    )
    assert "36 trials" in plot.note
