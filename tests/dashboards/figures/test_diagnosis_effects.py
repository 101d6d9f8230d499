"""TEST DATA, made up."""

import pytest

from dashboards.figures.diagnosis_effects import FIGURE, reach
from tests.dashboards.reading_figures import rows
from tests.dashboards.test_diagnosis import change, entry, found


def test_nothing_to_diagnose_is_no_figure() -> None:
    assert FIGURE.data({}) is None
    alone = {"anchors": [entry(name="x", accuracy=None)], "suspects": []}
    assert FIGURE.data({"diagnosis": alone}) is None


def test_the_figure_says_what_it_shows() -> None:
    plot = FIGURE.draw(FIGURE.data({"diagnosis": found()}))
    assert "the largest is union polarity: 1 with +48.0 points" in plot.alt
    assert plot.title == "The largest effect: union polarity: 1, +48.0 points"


def test_an_effect_that_cannot_be_told_from_zero_is_grey() -> None:
    plot = FIGURE.draw(FIGURE.data({"diagnosis": found()}))
    first = [row for row in rows(plot, "look") if row["when"] == "Right after pruning"]
    looks = {(row["name"], row["look"]) for row in first}
    clear = {r["label"] for r in found()["suspects"] if r["verdict"] in ("better", "worse")}
    assert looks
    for name, look in looks:
        assert (look == "Right after pruning") == (name.split(":")[0] in clear)


def test_a_wide_interval_does_not_squeeze_the_effects() -> None:
    changes = [change(0, "a", 0.1, low=-1.0, high=1.0), change(0, "b", -0.1)]
    drawn = [{"effect": 100 * row["effect_pruned"]} for row in changes]
    assert reach(drawn) == pytest.approx((-20, 20))
