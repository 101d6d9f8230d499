import io

import matplotlib as mpl
from PIL import Image

from dashboards import ReportData, style
from dashboards.figures.arms import FIGURE


def test_an_arm_without_a_test_accuracy_is_not_drawn() -> None:
    assert FIGURE.drawing({"arms": [{"arm": "lotus", "test_accuracy_mean": None}]}) is None


def test_a_figure_is_a_png_of_twice_the_page_width(full: ReportData) -> None:
    with style.drawing_rules():
        drawing = FIGURE.drawing(full.summary)
    assert drawing is not None
    picture = Image.open(io.BytesIO(drawing.png))
    assert picture.format == "PNG"
    assert picture.size[0] == 2 * 520
    lotus = next(a for a in full.summary["arms"] if a["arm"] == "lotus")
    assert f"LOTUS {100 * lotus['test_accuracy_mean']:.1f}\u00a0%" in drawing.alt


def test_the_users_matplotlib_settings_neither_change_nor_count(full: ReportData) -> None:
    with style.drawing_rules():
        usual = FIGURE.drawing(full.summary)
    with mpl.rc_context({"font.size": 30, "axes.labelweight": "bold"}):
        with style.drawing_rules():
            other = FIGURE.drawing(full.summary)
        assert mpl.rcParams["font.size"] == 30
    assert usual == other
