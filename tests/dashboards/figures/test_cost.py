from dashboards.figures.cost import FIGURE

STAGES = [{"stage": "dense", "total_s": 60.0, "median_s": 20.0, "n": 3}]
RATES = [{"patch_drop": 0.0, "mean": 410.0, "low": 400.0, "high": 420.0, "n": 3}]


def test_without_times_and_rates_nothing_is_drawn() -> None:
    assert FIGURE.drawing({}) is None


def test_either_is_drawn_without_the_other() -> None:
    said = [
        FIGURE.draw(FIGURE.data(summary)).alt
        for summary in ({"stage_seconds": STAGES}, {"throughput": RATES})
    ]
    assert said == [
        "Cost: most time in dense.",
        "Cost: 410 training images/s at the lowest patch drop.",
    ]


def test_what_sharing_saved_is_the_finding() -> None:
    cost = {"device_hours": 2.0, "device_hours_saved": 4.0}
    plot = FIGURE.draw(FIGURE.data({"cost": cost, "stage_seconds": STAGES}))
    assert plot.title.replace("\u00a0", " ") == (
        "The sweep took 2.0 h of device time; without shared stages it would be 6.0 h"
    )
    bars = [row[1:4] for row in plot.table.rows if row[0] == "Device time"]
    assert bars == [("Used", 7200.0, "s"), ("Without sharing", 21600.0, "s")]


def test_a_sweep_that_took_no_time_is_drawn() -> None:
    nothing = [{"stage": "dense", "total_s": 0.0, "median_s": 0.0, "n": 1}]
    drawing = FIGURE.drawing({"stage_seconds": nothing})
    assert drawing is not None
    assert "NaN" not in drawing.svg


def test_the_prediction_stands_first() -> None:
    cost = {"device_hours": 2.0, "device_hours_saved": 0.0, "device_hours_predicted": 1.5}
    plot = FIGURE.draw(FIGURE.data({"cost": cost, "stage_seconds": STAGES}))
    bars = [row[1:3] for row in plot.table.rows if row[0] == "Device time"]
    assert bars == [("Predicted at the start", 5400.0), ("Used", 7200.0)]
    assert plot.title.replace("\u00a0", " ") == (
        "The sweep took 2.0 h of device time, predicted were 1.5 h"
    )
