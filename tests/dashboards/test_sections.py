import numpy as np
import pandas as pd

from dashboards import ReportData, sections


def test_a_column_that_says_nothing_is_left_out() -> None:
    trials = pd.DataFrame({"name": ["a"], "status": ["FINISHED"], "seed": [0]})
    table = sections.trials_table(trials, {})
    assert table.heads == ("Trial", "Status", "Seed")
    assert [cell.text for cell in table.rows[0]] == ["a", "FINISHED", "0"]


def test_failed_trials_come_first_then_the_best() -> None:
    trials = pd.DataFrame(
        {
            "name": list("abcd"),
            "status": ["FINISHED", "FINISHED", "FAILED", "RUNNING"],
            "final/val_accuracy": [0.5, 0.9, np.nan, np.nan],
        }
    )
    assert list(sections.page_order(trials)["name"]) == ["c", "b", "a", "d"]


def test_many_failures_leave_room_for_the_best() -> None:
    trials = pd.DataFrame({"status": ["FAILED"] * 900 + ["FINISHED"] * 600})
    trials["final/val_accuracy"] = np.linspace(0, 1, 1500)
    shown = sections.page_order(trials)
    assert shown["status"].value_counts().to_dict() == {"FINISHED": 600, "FAILED": 100}
    assert shown["final/val_accuracy"].iloc[100] == 1


def test_an_error_shows_the_line_that_names_it(full: ReportData) -> None:
    table = sections.failed_table(full.trials)
    cell = table.rows[0][1]
    assert cell.text == "RuntimeError: out of memory on device 0"
    assert cell.more.startswith("Traceback")


def test_arms_carry_whole_model_sparsity_and_a_number_to_sort_by(full: ReportData) -> None:
    table = sections.arms_table(full.summary)
    lotus = next(row for row in table.rows if row[0].text == "LOTUS")
    entry = next(a for a in full.summary["arms"] if a["arm"] == "lotus")
    for head, field in (
        ("Test accuracy", "test_accuracy_mean"),
        ("To dense, points", "difference_to_dense"),
        ("On whole images", "test_accuracy_whole"),
        ("Final sparsity", "sparsity_mean"),
        ("Sparsity, whole model", "sparsity_model_mean"),
        ("MACs", "macs_ratio"),
        ("MACs, kept patches", "macs_ratio_kept"),
        ("Images/s, measured", "images_per_s_ratio"),
    ):
        assert lotus[table.heads.index(head)].value == entry[field], head
    model = lotus[table.heads.index("Sparsity, whole model")]
    assert model.text == "29.4\u00a0%"
    assert model.value is not None
    assert abs(model.value - 0.294) < 1e-9
    dense = next(row for row in table.rows if row[0].text == "Dense")
    assert dense[table.heads.index("To dense, points")].text == "–"


def test_the_fraction_table_gives_an_interval_only_where_there_is_one() -> None:
    table = pd.DataFrame(
        {
            "sparsity": [0.3, 0.3],
            "fraction": [0.1, 0.1],
            "stage": ["issp", "final"],
            "mean": [0.5, 0.9],
            "ci_low": [0.4, np.nan],
            "ci_high": [0.6, np.nan],
            "n": [3, 1],
        }
    )
    found = sections.fraction_table(table)
    (row,) = found.rows
    said = [c.text.replace("\u00a0", " ") for c in row]
    assert said == ["30 %", "10 %", "50.0 %", "40.0 to 60.0 %", "90.0 %", "3"]
    assert found.heads[-1] == "Seeds"


def test_a_sparsity_that_each_trial_finds_is_a_row_of_the_fraction_table() -> None:
    values = {"mean": 0.5, "ci_low": None, "ci_high": None, "n": 2, "stage": "issp"}
    levels = pd.DataFrame(
        [values | {"sparsity": s, "fraction": f} for s in (None, 0.3, "auto") for f in (0.1, 1.0)]
    )
    rows = sections.fraction_table(levels).rows
    assert [row[0].text.replace("\u00a0", " ") for row in rows] == [
        "–", "–", "30 %", "30 %", "auto", "auto",
    ]  # fmt: skip


def test_epochs_to_near_dense_say_how_many_seeds_got_there() -> None:
    reached = {
        "arm": "lotus", "n": 3, "near_dense_reached": 2, "epochs_to_near_dense": 3.5,
        "epochs_lowest": 2.0, "epochs_highest": 5.0, "setting": {},
    }  # fmt: skip
    never = {"arm": "dense", "n": 1, "near_dense_reached": 0, "setting": {}}
    last = pd.DataFrame(
        {"epoch": [1], "mean": [0.9], "low": [0.8], "high": [1.0], "n": [3], "ci_low": [0.7]}
    ).assign(ci_high=1.0)
    table = sections.finetune_table({"lotus": last, "dense": last}, {"arms": [reached, never]})
    said = [row[table.heads.index("Epochs to near dense (seeds)")].text for row in table.rows]
    assert said == ["3.5, 2 to 5 (2 of 3)", "not reached (0 of 1)"]


def test_every_detector_stands_beside_the_curve_with_its_interval() -> None:
    found = [
        {"detector": "first_violation", "value": 0.2, "low": 0.15, "high": 0.25},
        {"detector": "knee", "value": 0.3, "low": 0.2, "high": None},
    ]
    curve = [{"sparsity": 0.1}, {"sparsity": 0.4}]
    table = sections.detector_table({"essential_sparsity": {"detectors": found, "curve": curve}})
    assert [[c.text.replace("\u00a0", " ") for c in row] for row in table.rows] == [
        ["first violation", "20 %", "15 % to 25 %"],
        ["knee", "30 %", "20 % to above 40 %, the highest level measured"],
    ]
    assert sections.detector_table({}).rows == ()
