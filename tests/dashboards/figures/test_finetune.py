import numpy as np
import pandas as pd
import pytest

from dashboards import ReportData
from dashboards.arms import Arms
from dashboards.figures.finetune import FIGURE, Lines, accuracy_range, finding
from tests.dashboards.reading_figures import rows


def curve(*accuracies: float) -> pd.DataFrame:
    values = np.array(accuracies)
    frame = {"epoch": np.arange(1, len(values) + 1), "mean": values, "low": values, "high": values}
    return pd.DataFrame(frame | {"n": 1})


def lines(dense: float | None = None, **by_arm: pd.DataFrame) -> Lines:
    return Lines(by_arm, dense, Arms.of({}))


def test_without_a_curve_nothing_is_drawn() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data({"finetuning": {"lotus": []}}) is None


def test_each_arm_has_a_panel_of_its_own(full: ReportData) -> None:
    shown = FIGURE.data(full.summary)
    spec = FIGURE.draw(shown).chart.to_dict()
    assert spec["facet"]["field"] == "name"
    names = {row["name"] for row in rows(FIGURE.draw(shown), "name")}
    assert names == {shown.arms.short(arm) for arm in shown.by_arm}
    assert len(names) == 8


def test_all_is_drawn_when_the_arms_lie_close() -> None:
    low, high = accuracy_range(lines(0.97, lotus=curve(0.95, 0.96)))
    assert 94 < low < 95
    assert 97 < high < 98


def test_a_collapse_does_not_squeeze_the_curves_near_dense() -> None:
    shown = lines(0.97, lotus=curve(0.5, 0.96), random_mask=curve(0.1, 0.3))
    low, _ = accuracy_range(shown)
    assert 90 < low < 91
    plot = FIGURE.draw(shown)
    ends = {row["label"] for row in rows(plot, "label")}
    assert ends == {"", "▼ ends at 30.0\u00a0%"}


@pytest.mark.parametrize(
    ("dense", "said"),
    [
        (None, "Lotus ends at 96.0 % after 2 epochs"),
        (0.97, "Lotus ends at 96.0 % after 2 epochs, 1.0 points below dense before fine-tuning"),
    ],
)
def test_the_title_says_where_it_ends(dense: float | None, said: str) -> None:
    assert finding(lines(dense, lotus=curve(0.5, 0.96))).replace("\u00a0", " ") == said
