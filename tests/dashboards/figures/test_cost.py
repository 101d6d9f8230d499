from dashboards import style
from dashboards.figures.cost import FIGURE

STAGES = [{"stage": "dense", "total_s": 60.0, "median_s": 20.0, "n": 3}]
RATES = [{"patch_drop": 0.0, "mean": 410.0, "low": 400.0, "high": 420.0, "n": 3}]


def test_without_times_and_rates_nothing_is_drawn() -> None:
    assert FIGURE.drawing({}) is None


def test_either_is_drawn_without_the_other() -> None:
    said = []
    with style.drawing_rules():
        for summary in ({"stage_seconds": STAGES}, {"throughput": RATES}):
            drawing = FIGURE.drawing(summary)
            assert drawing is not None
            said.append(drawing.alt)
    assert said == [
        "Cost: most time in dense.",
        "Cost: 410 training images/s at the lowest patch drop.",
    ]
