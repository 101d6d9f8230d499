import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dashboards import ReportData, figures, style, tables


def curve(*accuracies: float) -> pd.DataFrame:
    values = np.array(accuracies)
    frame = {"epoch": np.arange(1, len(values) + 1), "mean": values, "low": values, "high": values}
    return pd.DataFrame(frame | {"n": 1})


def test_no_data_draws_no_figure() -> None:
    none = pd.DataFrame()
    assert figures.essential_sparsity({}) is None
    assert figures.essential_sparsity({"essential_sparsity": {"curve": []}}) is None
    assert figures.finetune({}, 0.9) is None
    assert figures.issp_by_fraction(none, 0.9) is None
    assert figures.arms({"arms": [{"arm": "lotus", "test_accuracy_mean": None}]}) is None
    assert figures.cost(none, none) is None


def test_a_figure_is_a_png_of_twice_the_page_width(full: ReportData) -> None:
    with style.drawing_rules():
        drawing = figures.arms(full.summary)
    assert drawing is not None
    picture = Image.open(io.BytesIO(drawing.png))
    assert picture.format == "PNG"
    assert picture.size[0] == 2 * 520
    lotus = next(a for a in full.summary["arms"] if a["arm"] == "lotus")
    assert f"LOTUS {100 * lotus['test_accuracy_mean']:.1f}\u00a0%" in drawing.alt


def test_the_essential_figure_shows_losses_against_dense_with_tolerance_and_value(
    full: ReportData,
) -> None:
    with style.drawing_rules():
        drawing = figures.essential_sparsity(full.summary)
    assert drawing is not None
    assert drawing.alt.replace("\u00a0", " ") == (
        "Loss of validation accuracy against sparsity at 6 levels, from 0.0 points at 0 % sparsity "
        "to +3.0 at 50 %; tolerance 1 point; essential sparsity 30 %."
    )


def test_an_essential_curve_without_interval_or_value_is_drawn() -> None:
    summary = {"essential_sparsity": {"curve": [{"sparsity": 0.1, "drop": 0.5}]}}
    with style.drawing_rules():
        drawing = figures.essential_sparsity(summary)
    assert drawing is not None
    assert "essential sparsity –" in drawing.alt


@pytest.mark.parametrize("drops", [(None, None), (0.02, None)])
def test_an_essential_curve_of_which_losses_are_unknown_is_drawn(
    drops: tuple[float | None, ...],
) -> None:
    curve = [{"sparsity": 0.1 * i, "drop": d} for i, d in enumerate(drops)]
    summary = {"essential_sparsity": {"curve": curve, "tolerance": 0.01}}
    with style.drawing_rules():
        assert figures.essential_sparsity(summary) is not None


def test_the_users_matplotlib_settings_neither_change_nor_count(full: ReportData) -> None:
    with style.drawing_rules():
        usual = figures.arms(full.summary)
    with mpl.rc_context({"font.size": 30, "axes.labelweight": "bold"}):
        with style.drawing_rules():
            other = figures.arms(full.summary)
        assert mpl.rcParams["font.size"] == 30
    assert usual == other


def test_one_panel_when_all_arms_lie_close() -> None:
    assert figures.close_range({"lotus": curve(0.95, 0.96)}, 0.97) is None


def test_a_closer_panel_when_one_arm_collapses() -> None:
    close = figures.close_range({"lotus": curve(0.5, 0.96), "random_mask": curve(0.1, 0.3)}, 0.97)
    assert close is not None
    low, high = close
    assert 0.9 < low < 0.96
    assert high > 0.97


def test_no_closer_panel_when_no_arm_comes_near() -> None:
    assert figures.close_range({"lotus": curve(0.1, 0.5)}, 0.97) is None


def test_many_sparsities_are_thinned_evenly() -> None:
    table = pd.DataFrame({"sparsity": np.arange(11) / 20})
    assert figures.shown_levels(table) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_sparsity_that_each_trial_finds_is_a_line_too() -> None:
    row = {"stage": "issp", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    table = pd.DataFrame(
        [row | {"sparsity": s, "fraction": f} for s in ("auto", 0.3) for f in (0.1, 1.0)]
    )
    assert figures.shown_levels(table) == [0.3, "auto"]
    with style.drawing_rules():
        assert figures.issp_by_fraction(table, None) is not None


def test_every_arm_has_its_own_colour_and_marker() -> None:
    assert set(style.ARM_COLOURS) == set(style.ARM_MARKERS) == set(tables.ARM_ORDER)
    assert len(set(style.ARM_COLOURS.values())) == len(set(style.ARM_MARKERS.values())) == 8


def test_the_detectors_that_were_not_chosen_are_marked_in_the_figure() -> None:
    curve = [{"sparsity": s, "drop": s * s} for s in (0.1, 0.2, 0.3, 0.4)]
    found = {"curve": curve, "detector": "knee", "value": 0.2}
    others = [{"detector": name, "value": 0.3} for name in ("knee", "first_violation")]
    with style.drawing_rules():
        (axes,) = style.new_figure(3)
        figures._mark_other_detectors(axes, found | {"detectors": others})
        labels = [str(line.get_label()).replace("\u00a0", " ") for line in axes.get_lines()]
    assert labels == ["First violation: 30 %"]


def test_equal_accuracies_that_are_rounded_to_different_sides_are_drawn() -> None:
    mean = 0.1 + 0.2  # a little above 0.3
    row = {"stage": "issp", "sparsity": 0.3, "mean": mean, "low": mean, "high": 0.3, "n": 3}
    table = pd.DataFrame([row | {"fraction": fraction} for fraction in (0.1, 1.0)])
    with style.drawing_rules():
        assert figures.issp_by_fraction(table, None) is not None
