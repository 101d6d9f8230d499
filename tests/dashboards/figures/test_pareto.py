"""TEST DATA, made up."""

from typing import Any

from dashboards.figures.pareto import FIGURE
from orchestrator.selection.arms import known_arms
from tests.dashboards.reading_figures import rows, units
from tests.dashboards.test_search import tried


def summary(*settings: dict[str, Any]) -> dict[str, Any]:
    return {"known_arms": known_arms(), "tried": list(settings)}


def test_one_setting_is_no_front() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data(summary(tried(0.9, 1.0))) is None
    assert FIGURE.data(summary(tried(0.9, 1.0), tried(0.8, 1.0, front=False))) is None


def test_settings_without_a_cost_are_not_drawn() -> None:
    shown = FIGURE.data(summary(tried(0.9, 1.0), tried(0.8, 0.9), tried(0.7, None)))
    assert shown is not None
    assert len(shown.rows) == 2


def test_the_title_names_the_cheapest_within_a_point_of_the_best() -> None:
    settings = (tried(0.97, 1.0, arm="dense"), tried(0.965, 0.9), tried(0.93, 0.5))
    plot = FIGURE.draw(FIGURE.data(summary(*settings)))
    assert plot.title == (
        "Within 1 point of the best, LOTUS needs the fewest MACs: 0.90× of dense; 3 of 3 settings "
        "are beaten by no other"
    )


def test_the_title_says_when_nothing_as_good_needs_fewer_macs() -> None:
    plot = FIGURE.draw(FIGURE.data(summary(tried(0.97, 1.0), tried(0.9, 0.5))))
    assert plot.title.startswith("Nothing within 1 point of the best needs fewer MACs than dense")


def test_each_setting_is_of_one_kind_and_only_the_front_has_bars_and_names() -> None:
    plot = FIGURE.draw(FIGURE.data(summary(
        tried(0.97, 1.0), tried(0.96, 0.8), tried(0.95, 0.9, front=False),
        tried(0.94, 0.9, arm="random_mask", front=False),
    )))  # fmt: skip
    kinds = [row[2] for row in plot.table.rows]
    assert kinds == ["Beaten by no other"] * 2 + ["Beaten by another", "Control"]
    assert len(rows(plot, "low")) == 2
    assert {row["label"].replace("\u00a0", " ") for row in rows(plot, "label")} == {
        "LOTUS s30 d10 f10"
    }


def test_a_name_that_would_run_over_a_better_one_is_left_out() -> None:
    near = [tried(0.97 - 1e-4 * i, 0.5 + 0.1 * i) for i in range(5)]
    far = tried(0.93, 1.0)
    plot = FIGURE.draw(FIGURE.data(summary(*near, far)))
    assert [row["accuracy"] for row in rows(plot, "label")] == [97, 93]


def test_measured_speed_has_a_panel_where_it_was_measured() -> None:
    slow = [tried(0.97, 1.0), tried(0.96, 0.8)]
    fast = [row | {"speed_ratio": 1.2 + i} for i, row in enumerate(slow)]
    for settings, count in ((slow, 1), (fast, 2)):
        plot = FIGURE.draw(FIGURE.data(summary(*settings)))
        assert len(plot.chart.to_dict()["concat"]) == plot.columns == count


def test_a_front_of_which_one_is_near_the_best_is_drawn() -> None:
    drawing = FIGURE.drawing(summary(tried(0.97, 1.0, speed_ratio=1.0), tried(0.5, 0.4)))
    assert drawing is not None
    assert "NaN" not in drawing.svg


def test_what_lies_far_below_is_counted_and_does_not_squeeze_the_rest() -> None:
    plot = FIGURE.draw(FIGURE.data(summary(tried(0.97, 1.0), tried(0.96, 0.8), tried(0.5, 0.4))))
    assert plot.note == "n = 3 seeds. 1 setting, 6 points or more below the best, lies lower."
    drawn = [row for _, here in units(plot) for row in here]
    assert min(row["accuracy"] for row in drawn) == 96
    assert len(plot.table.rows) == 3
