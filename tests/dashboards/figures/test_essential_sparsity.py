import pytest

from dashboards import ReportData
from dashboards.figures.essential_sparsity import FIGURE, finding, loss_range
from tests.dashboards.reading_figures import rows


def test_without_a_curve_nothing_is_drawn() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data({"essential_sparsity": {"curve": []}}) is None


def test_the_essential_figure_shows_losses_against_dense_with_tolerance_and_value(
    full: ReportData,
) -> None:
    plot = FIGURE.draw(FIGURE.data(full.summary))
    assert plot.alt.replace("\u00a0", " ") == (
        "Loss of validation accuracy against sparsity at 6 levels, from 0.0 points at 0 % sparsity "
        "to +3.0 at 50 %; tolerance 1 point; essential sparsity 30 %."
    )
    assert plot.title.replace("\u00a0", " ") == (
        "Up to 30 % can be pruned in one shot; 40 % loses 1.5 points"
    )
    assert [row[0] for row in plot.table.rows] == pytest.approx([0, 10, 20, 30, 40, 50])


def test_an_essential_curve_without_interval_or_value_is_drawn() -> None:
    drawing = FIGURE.drawing({"essential_sparsity": {"curve": [{"sparsity": 0.1, "drop": 0.5}]}})
    assert drawing is not None
    assert "essential sparsity –" in drawing.alt
    assert "NaN" not in drawing.svg


@pytest.mark.parametrize(
    ("reference", "evaluate", "label"),
    [
        ("level_zero", "after_finetune", "Level 0, fine-tuned alike"),
        ("dense", "after_finetune", "Dense"),
        ("dense", "one_shot", "Dense"),
    ],
)
def test_title_and_line_at_zero_say_what_is_compared(
    reference: str, evaluate: str, label: str
) -> None:
    curve = [{"sparsity": 0.1, "drop": 0.01}, {"sparsity": 0.3, "drop": 0.02}]
    essential = {"curve": curve, "reference": reference, "evaluate": evaluate, "value": 0.1}
    shown = FIGURE.data({"essential_sparsity": essential})
    plot = FIGURE.draw(shown)
    drawn = str(plot.chart.to_dict())
    assert label in drawn
    assert ("Loss against level 0" in drawn) == (reference == "level_zero")
    fine_tuned = evaluate == "after_finetune"
    assert ("pruned in one shot and fine-tuned" in plot.title) == fine_tuned


@pytest.mark.parametrize("drops", [(None, None), (0.02, None)])
def test_an_essential_curve_of_which_losses_are_unknown_is_drawn(
    drops: tuple[float | None, ...],
) -> None:
    curve = [{"sparsity": 0.1 * i, "drop": d} for i, d in enumerate(drops)]
    drawing = FIGURE.drawing({"essential_sparsity": {"curve": curve, "tolerance": 0.01}})
    assert drawing is not None
    assert "NaN" not in drawing.svg


def test_the_detectors_that_were_not_chosen_are_marked_once_where_they_agree() -> None:
    curve = [{"sparsity": s, "drop": s * s} for s in (0.1, 0.2, 0.3, 0.4)]
    found = {"curve": curve, "detector": "knee", "value": 0.2}
    others = [
        {"detector": name, "value": 0.3} for name in ("knee", "first_violation", "changepoint")
    ]
    plot = FIGURE.draw(FIGURE.data({"essential_sparsity": found | {"detectors": others}}))
    labels = {row["label"].replace("\u00a0", " "): row["x"] for row in rows(plot, "x")}
    assert labels == {"s* = 20 %": 20, "First violation, Changepoint: 30 %": 30}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "No level can be pruned in one shot: 10 % loses 2.0 points"),
        (0.1, "Up to 10 % can be pruned in one shot; 20 % loses 3.0 points"),
        (0.2, "Even 20 %, the highest level, can be pruned in one shot"),
        (None, "What it costs to be pruned in one shot, by sparsity"),
    ],
)
def test_the_title_says_how_far_one_can_go(value: float | None, said: str) -> None:
    curve = [{"sparsity": 0.0}, {"sparsity": 0.1, "drop": 0.02}, {"sparsity": 0.2, "drop": 0.03}]
    assert finding(curve, {"value": value}).replace("\u00a0", " ") == said


def test_a_collapse_does_not_hide_what_lies_near_the_tolerance() -> None:
    losses = [{"loss": loss, "low": None, "high": None} for loss in (0.2, 1.1, 60.0)]
    low, high = loss_range(losses, 1.0)
    assert -1 < low < 0.2
    assert 1.1 < high < 6
