"""TEST DATA, made up."""

from typing import Any

import pytest

from dashboards import ReportData
from dashboards.figures.arms import FIGURE, difference_range
from orchestrator.selection.arms import known_arms
from tests.dashboards.reading_figures import panels, units
from tests.dashboards.reading_figures import rows as drawn_rows


def arm(name: str, difference: float, **more: Any) -> dict[str, Any]:
    row = {"arm": name, "difference_to_dense": difference, "n": 3, "test_accuracy_mean": 0.9}
    return row | more


def arms(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"known_arms": known_arms(), "arms": list(rows)}


def test_an_arm_that_was_not_compared_with_dense_is_not_drawn() -> None:
    assert FIGURE.data({"arms": [{"arm": "lotus", "difference_to_dense": None}]}) is None


def test_controls_stand_below_the_method_with_the_colours_of_every_figure(full: ReportData) -> None:
    shown = FIGURE.data(full.summary)
    assert shown is not None
    plot = FIGURE.draw(shown)
    method, controls = panels(plot)
    assert [method["title"], controls["title"]] == ["Method and its parts", "Controls"]
    table = {row[0]: row[1] for row in plot.table.rows}
    assert table["LOTUS"] == "Method and its parts"
    assert table["Random mask"] == "Controls"
    wanted = {shown.names[row["arm"]]: shown.arms.colour(row["arm"]) for row in shown.rows}
    assert len(set(wanted.values())) == len(wanted) == 7
    scales = [v["encoding"]["color"]["scale"] for v, _ in units(plot) if "color" in v["encoding"]]
    assert len(scales) == 6
    for scale in scales:  # the same in both panels, because Vega-Lite shares them
        assert dict(zip(scale["domain"], scale["range"], strict=True)) == wanted


def test_both_scopes_have_a_bar_where_there_is_an_interval() -> None:
    lotus = arm(
        "lotus", -0.004, models_low=-0.01, models_high=0.0, seeds_low=-0.02, seeds_high=0.01
    )
    plot = FIGURE.draw(FIGURE.data(arms(lotus, arm("issp", -0.01))))
    bars = {
        view["encoding"]["x"]["field"]: [row["name"] for row in rows]
        for view, rows in units(plot)
        if view["mark"]["type"] == "rule" and "x2" in view["encoding"]
    }
    assert bars == {"models_low": ["LOTUS"], "seeds_low": ["LOTUS"]}
    assert plot.title == "LOTUS is 0.4 points below dense"


def test_the_title_names_the_best_control() -> None:
    summary = arms(arm("lotus", 0.0), arm("random_mask", -0.2), arm("magnitude", 0.011))
    assert FIGURE.draw(FIGURE.data(summary)).title == (
        "LOTUS is level with dense; the best control, one-shot magnitude, 1.1 points above dense"
    )


def test_an_arm_far_below_does_not_squeeze_the_others() -> None:
    summary = arms(arm("lotus", -0.004), arm("random_mask", -0.4))
    rows = [row | {"arm": row["arm"]} for row in summary["arms"]]
    plot = FIGURE.draw(FIGURE.data(summary))
    assert [row["label"] for row in drawn_rows(plot, "label")] == ["◄ −40.0"]
    drawn = [{"difference": 100 * r["difference_to_dense"]} for r in rows]
    blank = dict.fromkeys(("models_low", "models_high", "seeds_low", "seeds_high"))
    low, high = difference_range([row | blank for row in drawn], 1.0)
    assert (low, high) == pytest.approx((-1.12, 1.12))
