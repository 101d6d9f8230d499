import numpy as np
import pandas as pd

from dashboards.figures.finetune import FIGURE, close_range


def curve(*accuracies: float) -> pd.DataFrame:
    values = np.array(accuracies)
    frame = {"epoch": np.arange(1, len(values) + 1), "mean": values, "low": values, "high": values}
    return pd.DataFrame(frame | {"n": 1})


def test_without_a_curve_nothing_is_drawn() -> None:
    assert FIGURE.drawing({}) is None
    assert FIGURE.drawing({"finetuning": {"lotus": []}}) is None


def test_one_panel_when_all_arms_lie_close() -> None:
    assert close_range({"lotus": curve(0.95, 0.96)}, 0.97) is None


def test_a_closer_panel_when_one_arm_collapses() -> None:
    close = close_range({"lotus": curve(0.5, 0.96), "random_mask": curve(0.1, 0.3)}, 0.97)
    assert close is not None
    low, high = close
    assert 0.9 < low < 0.96
    assert high > 0.97


def test_no_closer_panel_when_no_arm_comes_near() -> None:
    assert close_range({"lotus": curve(0.1, 0.5)}, 0.97) is None
