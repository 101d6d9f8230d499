"""TEST DATA, made up."""

import pytest

from dashboards import style
from dashboards.figures.diagnosis_effects import FIGURE, _reach
from dashboards.files import PNG_SIGNATURE
from tests.dashboards.test_diagnosis import change, entry, found


def test_nothing_to_diagnose_is_no_figure() -> None:
    assert FIGURE.drawing({}) is None
    alone = {"anchors": [entry(name="x", accuracy=None)], "suspects": []}
    assert FIGURE.drawing({"diagnosis": alone}) is None


def test_the_figure_says_what_it_shows() -> None:
    with style.drawing_rules():
        drawing = FIGURE.drawing({"diagnosis": found()})
    assert drawing is not None
    assert drawing.png.startswith(PNG_SIGNATURE)
    assert "the largest is union polarity: 1 with +48.0 points" in drawing.alt


def test_a_wide_interval_does_not_squeeze_the_effects() -> None:
    rows = [change(0, "a", 0.1, low=-1.0, high=1.0), change(0, "b", -0.1)]
    low, high = _reach(rows)
    assert (low, high) == pytest.approx((-0.2, 0.2))
