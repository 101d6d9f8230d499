"""Which change causes a collapse, on sweeps of which the cause is known."""

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection import summarise
from orchestrator.selection.design import read_settings
from orchestrator.selection.diagnosis import MOST_OUTCOMES, diagnose, needed_trials
from tests.orchestrator.selection.conftest import (
    CHANGES,
    DEFAULT,
    LITERAL,
    Law,
    control,
    masked,
    one_shot_loss,
    reached,
    star,
    trial,
)


def found_in(table: pd.DataFrame) -> dict[str, Any]:
    """The diagnosis of a table that has one, as JSON keeps it."""
    found = diagnose(table)
    assert found is not None
    return dict(json.loads(json.dumps(found, allow_nan=False)))


def effects(found: dict[str, Any], anchor: str) -> dict[tuple[str, Any], dict[str, Any]]:
    """(suspect, value) -> row, of the anchor of that name."""
    (number,) = [i for i, a in enumerate(found["anchors"]) if anchor in a["name"]]
    return {(r["suspect"], r["value"]): r for r in found["suspects"] if r["anchor"] == number}


def said(found: dict[str, Any]) -> str:
    return "\n".join(found["sentences"])


def test_both_readings_are_anchors_and_every_single_change_is_a_row(
    by_sparsity: pd.DataFrame,
) -> None:
    found = found_in(by_sparsity)
    assert {a["name"] for a in found["anchors"]} == {
        "the default reading (lotus)",
        "the lotus_literal reading (lotus)",
    }
    # The default reading is its own absolute reference and empty levels: two changes less.
    assert len(effects(found, "lotus_literal")) == len(CHANGES) + 1
    assert len(effects(found, "default")) == len(CHANGES) - 2 + 1
    assert all(r["n"] == 3 for r in found["suspects"])


def test_a_preset_that_changes_many_keys_is_one_suspect(by_sparsity: pd.DataFrame) -> None:
    row = effects(found_in(by_sparsity), "default")["issp.preset", "lotus_literal"]
    assert row["anchor_value"] == "default"
    assert row["effect_pruned"] == pytest.approx(-0.48)
    assert row["verdict"] == "worse"


def test_settings_that_belong_together_are_one_suspect(by_sparsity: pd.DataFrame) -> None:
    rounds = [k for k in effects(found_in(by_sparsity), "default") if k[0] == "issp.rounds"]
    assert rounds == [("issp.rounds", "rounds=5, schedule=cubic")]


def test_outcomes_are_asked_for_of_every_setting_shown_and_its_controls(
    by_sparsity: pd.DataFrame,
) -> None:
    asked = needed_trials(by_sparsity)
    assert len(asked) == len(set(asked)) <= MOST_OUTCOMES
    arms = by_sparsity.set_index("key")["arm"]
    assert {"lotus", "magnitude", "random_mask"} == set(arms[asked])
    assert set(by_sparsity.loc[by_sparsity["arm"] == "lotus", "key"]) <= set(asked)


def test_trials_that_found_their_own_sparsity_are_one_setting() -> None:
    rows = [
        trial("lotus", DEFAULT | {"sparsity": level}, seed, auto_sparsity=True)
        for seed, level in enumerate((0.31, 0.33, 0.34))
    ]
    [found] = read_settings(pd.DataFrame(rows))
    assert (found.axes["sparsity"], list(found.first)) == ("auto", [0, 1, 2])


def test_a_reading_is_compared_although_more_was_varied_elsewhere() -> None:
    def law(config: dict[str, Any]) -> tuple[float, float]:
        return reached(config), one_shot_loss(reached(config))

    elsewhere = DEFAULT | {"sparsity": "auto"}
    fractions = [elsewhere | {"mask_data_fraction": f} for f in (0.1, 0.3, 1.0)]
    rows = [
        masked(config, seed, law, noise=0.001)
        for config in (*fractions, DEFAULT, LITERAL)
        for seed in range(3)
    ]
    assert found_in(pd.DataFrame(rows))["collapse"] is True


def test_suspects_are_ranked_by_the_size_of_their_effect(by_sparsity: pd.DataFrame) -> None:
    rows = list(effects(found_in(by_sparsity), "lotus_literal").values())
    sizes = [abs(r["effect_final"] if r["effect_pruned"] is None else r["effect_pruned"])
             for r in rows]  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)
    assert {r["suspect"] for r in rows[:4]} == {
        "issp.preset", "issp.merge", "issp.sparsity_reference", "issp.levels",
    }  # fmt: skip
    assert all(r["effect_pruned"] == pytest.approx(0.48) for r in rows[:4])


def test_a_loss_is_what_the_sparsity_costs_and_what_the_mask_adds(
    by_sparsity: pd.DataFrame,
) -> None:
    found = found_in(by_sparsity)
    for row in [*found["anchors"], *found["suspects"]]:
        assert row["drop"] == pytest.approx(row["control_drop"] + row["excess"])
        assert row["excess"] == pytest.approx(0.01)
        assert row["control_drop"] == pytest.approx(one_shot_loss(row["sparsity"]))


def test_too_much_pruning_is_named_as_the_cause(by_sparsity: pd.DataFrame) -> None:
    found = found_in(by_sparsity)
    text = said(found)
    assert found["collapse"] is True
    assert found["sentences"][0].startswith("The collapse appeared")
    assert "Pruning past 50 % is a cause: plain one-shot magnitude at the same sparsity" in text
    assert "Cause: how much is pruned. Every change that cures it removes fewer" in text
    assert "sparsity reference absolute instead of relative" in text
    assert "“too little data” is not the cause" in text


def test_too_little_data_is_named_as_the_cause() -> None:
    def law(c: dict[str, Any]) -> tuple[float, float]:
        return 0.5, 0.05 if float(c["mask_data_fraction"]) > 0.9 else 0.4

    found = found_in(star(law, noise=0.001))
    text = said(found)
    assert "From mask data fraction 0.1 to 1 the effect right after pruning is +35.0" in text
    assert "“too little data” is the cause" in text
    assert "The sparsity is not the cause" in text
    assert "Cause: how the mask is found (mask data fraction)" in text
    top = next(iter(effects(found, "default").values()))
    assert (top["suspect"], top["value"], top["verdict"]) == ("mask_data_fraction", 1, "better")
    assert "look-ahead steps" in text.split("none that can be told from zero")[1]


def test_without_a_collapse_it_is_said_that_none_appeared() -> None:
    found = found_in(star(lambda c: (0.5, 0.03), noise=0.001))
    assert found["collapse"] is False
    assert found["sentences"][0].startswith("The collapse did not appear")
    assert "cure" not in said(found)
    assert "no collapse to explain" in said(found)
    assert all(r["verdict"] == "undecided" for r in found["suspects"])


def test_a_collapse_that_fine_tuning_leaves_is_said_to_stay() -> None:
    table = star(lambda c: (reached(c), one_shot_loss(reached(c))))
    literal = table["issp.preset"].eq("lotus_literal") & table["issp/sparsity"].eq(0.79)
    table.loc[literal, ["final/deployed_test_lost", "final/deployed_test_accuracy"]] = [1500, 0.6]
    anchor = found_in(table)["anchors"]
    where = {a["collapsed"] for a in anchor if "literal" in a["name"]}
    assert where == {"right after pruning and after fine-tuning"}


def test_without_a_control_the_share_of_the_sparsity_is_unknown(by_sparsity: pd.DataFrame) -> None:
    bare = by_sparsity[by_sparsity["arm"] == "lotus"]
    found = found_in(bare)
    assert "no one-shot control at the same sparsity was run" in said(found)
    assert all(a["excess"] is None for a in found["anchors"])


def test_a_control_of_another_count_is_no_control(by_sparsity: pd.DataFrame) -> None:
    table = by_sparsity.copy()
    controls = table["arm"] == "magnitude"
    table.loc[controls, ["control/sparsity", "final/sparsity"]] += 1e-5
    assert all(a["control_drop"] is None for a in found_in(table)["anchors"])
    table.loc[controls, ["control/sparsity", "final/sparsity"]] -= 1e-5 - 1e-7
    assert all(a["control_drop"] is not None for a in found_in(table)["anchors"])


def test_a_control_with_other_fine_tuning_counts_before_it_only(by_sparsity: pd.DataFrame) -> None:
    table = by_sparsity.copy()
    table.loc[table["arm"] == "magnitude", "finetune.epochs"] = "1"
    found = found_in(table)
    assert all(a["excess"] is not None for a in found["anchors"])
    assert all(a["final_excess"] is None for a in found["anchors"])
    later = effects(found, "default")["finetune.epochs", 1]
    assert later["effect_pruned"] is None
    assert later["final_excess"] is not None


def test_one_seed_still_has_intervals_from_its_images() -> None:
    found = found_in(star(lambda c: (reached(c), one_shot_loss(reached(c))), seeds=[0]))
    rows = [r for r in found["suspects"] if r["effect_pruned"] is not None]
    assert all(r["low"] < r["effect_pruned"] < r["high"] for r in rows)
    assert effects(found, "lotus_literal")["issp.levels", "none"]["verdict"] == "better"


def test_trials_without_a_measurement_are_left_out(by_sparsity: pd.DataFrame) -> None:
    table = by_sparsity.copy()
    failed = (table["issp.steps"] == "10") & (table["seed"] > 0)
    metrics = [c for c in table.columns if "/" in c]
    table.loc[failed, metrics] = np.nan
    table.loc[failed, "status"] = "FAILED"
    row = effects(found_in(table), "default")["issp.steps", 10]
    assert row["n"] == 1


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(),
        pd.DataFrame([{"arm": "lotus", "status": "FAILED", "error": "boom"}]),
        pd.DataFrame([masked(DEFAULT, s, lambda c: (0.5, 0.1), 0.0) for s in range(3)]),
        pd.DataFrame([
            masked(DEFAULT | change, 0, lambda c: (0.5, 0.1), 0.0)
            for change in ({}, {"issp.steps": "10", "issp.merge": "majority"})
        ]),
    ],
    ids=["empty", "failed", "one setting", "two things changed"],
)  # fmt: skip
def test_without_a_one_at_a_time_design_there_is_no_diagnosis(table: pd.DataFrame) -> None:
    assert diagnose(table) is None


@pytest.mark.parametrize(
    "columns",
    [
        ["issp/val_lost", "issp/val_gained"],
        ["dense/val_n", "dense/test_n"],
        ["issp/sparsity"],
        ["final/deployed_test_accuracy", "final/deployed_test_lost", "final/deployed_test_gained"],
        ["issp.preset"],
        ["control/val_accuracy", "control/sparsity", "denoise/jaccard_mean"],
    ],
)
def test_an_absent_column_is_no_error(by_sparsity: pd.DataFrame, columns: list[str]) -> None:
    assert found_in(by_sparsity.drop(columns=columns))["collapse"] is True


def test_without_the_presets_name_an_explicit_literal_reading_is_an_anchor_too(
    by_sparsity: pd.DataFrame,
) -> None:
    found = found_in(by_sparsity.drop(columns="issp.preset"))
    drops = sorted(a["drop"] for a in found["anchors"])
    assert drops == pytest.approx([0.03, 0.51])


def test_more_comparisons_make_every_interval_wider() -> None:
    law: Law = lambda c: (0.5, 0.03)  # noqa: E731
    few = [c for c in CHANGES if "mask_data_fraction" in c]
    small = pd.DataFrame([masked(DEFAULT | c, s, law, 0.0) for c in ({}, *few) for s in range(3)])
    one = effects(found_in(small), "default")["mask_data_fraction", 1]
    many = effects(found_in(star(law)), "default")["mask_data_fraction", 1]
    assert many["high"] - many["low"] > one["high"] - one["low"]


def test_a_second_one_around_the_same_reading_needs_a_design_of_its_own() -> None:
    law: Law = lambda c: (0.5, 0.03)  # noqa: E731
    grid = [
        masked(DEFAULT | {"sparsity": s, "mask_data_fraction": f, "issp.steps": n}, 0, law, 0.0)
        for s in (0.1, 0.2, 0.3) for f in (0.1, 0.3, 1.0) for n in ("10", "50", "90")
    ]  # fmt: skip
    found = found_in(pd.DataFrame(grid))
    assert len(found["anchors"]) == 1
    assert len(found["suspects"]) == 6


def test_ten_thousand_trials_are_diagnosed_in_seconds() -> None:
    law: Law = lambda c: (reached(c), one_shot_loss(reached(c)))  # noqa: E731
    configs = [
        DEFAULT | {"sparsity": s / 100, "mask_data_fraction": f, "issp.steps": str(n)}
        for s in range(1, 34) for f in np.linspace(0.1, 1, 10).round(2) for n in range(10)
    ]  # fmt: skip
    table = pd.DataFrame([masked(c, s, law, 0.001) for c in configs for s in range(3)])
    table = pd.concat([table, pd.DataFrame([control("magnitude", 0.5, 0.02, s) for s in range(3)])])
    table = table.assign(**{f"finetune.extra{i}": "constant" for i in range(60)})
    assert len(table) > 9_900
    started = time.process_time()
    found = found_in(table)
    assert time.process_time() - started < 60
    assert len(found["suspects"]) == 32 + 9 + 9


def test_the_warning_points_to_the_diagnosis_and_does_not_repeat_it(
    by_sparsity: pd.DataFrame,
) -> None:
    given: dict[str, Any] = {"sweep": "s", "planned": len(by_sparsity), "device": "cpu"}
    given |= {"device_hours": 1.0, "device_hours_saved": 0.0, "wall_s": None}
    table = by_sparsity
    out = summarise(table, **given)
    (warning,) = [w for w in out["warnings"] if "ISSP collapse" in w]
    assert "The diagnosis says what caused it." in warning
    assert "issp.merge" not in warning
    one = table[table["issp.preset"].eq("lotus_literal") & table["issp/sparsity"].eq(0.79)]
    one = one[one["key"] == one["key"].iloc[0]]
    assert summarise(one, **given)["diagnosis"] is None
    assert any("Look at `issp.merge`" in w for w in summarise(one, **given)["warnings"])
