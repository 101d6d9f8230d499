import pytest

from dashboards import ReportData, style
from dashboards.figures.essential_sparsity import FIGURE, _mark_other_detectors


def test_without_a_curve_nothing_is_drawn() -> None:
    assert FIGURE.drawing({}) is None
    assert FIGURE.drawing({"essential_sparsity": {"curve": []}}) is None


def test_the_essential_figure_shows_losses_against_dense_with_tolerance_and_value(
    full: ReportData,
) -> None:
    with style.drawing_rules():
        drawing = FIGURE.drawing(full.summary)
    assert drawing is not None
    assert drawing.alt.replace("\u00a0", " ") == (
        "Loss of validation accuracy against sparsity at 6 levels, from 0.0 points at 0 % sparsity "
        "to +3.0 at 50 %; tolerance 1 point; essential sparsity 30 %."
    )


def test_an_essential_curve_without_interval_or_value_is_drawn() -> None:
    summary = {"essential_sparsity": {"curve": [{"sparsity": 0.1, "drop": 0.5}]}}
    with style.drawing_rules():
        drawing = FIGURE.drawing(summary)
    assert drawing is not None
    assert "essential sparsity –" in drawing.alt


@pytest.mark.parametrize(
    ("reference", "label"), [("level_zero", "Level 0, fine-tuned alike"), ("dense", "Dense")]
)
def test_the_line_at_zero_says_what_it_is(reference: str, label: str) -> None:
    curve = [{"sparsity": 0.1, "drop": 0.01}, {"sparsity": 0.3, "drop": 0.02}]
    shown = FIGURE.data({"essential_sparsity": {"curve": curve, "reference": reference}})
    with style.drawing_rules():
        axes, _ = FIGURE.draw(shown)
        assert label in [line.get_label() for line in axes.get_lines()]
    assert ("level 0" in axes.get_ylabel()) == (reference == "level_zero")


@pytest.mark.parametrize("drops", [(None, None), (0.02, None)])
def test_an_essential_curve_of_which_losses_are_unknown_is_drawn(
    drops: tuple[float | None, ...],
) -> None:
    curve = [{"sparsity": 0.1 * i, "drop": d} for i, d in enumerate(drops)]
    summary = {"essential_sparsity": {"curve": curve, "tolerance": 0.01}}
    with style.drawing_rules():
        assert FIGURE.drawing(summary) is not None


def test_the_detectors_that_were_not_chosen_are_marked_in_the_figure() -> None:
    curve = [{"sparsity": s, "drop": s * s} for s in (0.1, 0.2, 0.3, 0.4)]
    found = {"curve": curve, "detector": "knee", "value": 0.2}
    others = [{"detector": name, "value": 0.3} for name in ("knee", "first_violation")]
    with style.drawing_rules():
        (axes,) = style.new_figure(3)
        _mark_other_detectors(axes, found | {"detectors": others})
        labels = [str(line.get_label()).replace("\u00a0", " ") for line in axes.get_lines()]
    assert labels == ["First violation: 30 %"]
