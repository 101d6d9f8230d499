"""Systems side by side: families, own controls, verdicts of a family, and what the summary has."""

from typing import Any

import pandas as pd
import pytest

from orchestrator.selection import summarise, wanted_trials
from orchestrator.selection.contrasts import dense_for
from orchestrator.selection.families import MOST_SETTINGS, systems_of
from orchestrator.selection.own_controls import own_controls
from orchestrator.selection.settings import group_settings
from tests.orchestrator.selection.made_systems import (
    AXES,
    every_family,
    masked,
    reduced,
    system,
    table,
)
from trials.arms import FAMILIES, family_of


def found(rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    trials = table(rows)
    summary = summarise(
        trials, sweep="s", planned=len(trials), device="cpu", device_hours=0.0,
        device_hours_saved=0.0, wall_s=None, axes=AXES, **changes,
    )  # fmt: skip
    assert summary["systems"] is not None
    entry: dict[str, Any] = summary["systems"]
    return entry


def rows_of(entry: dict[str, Any], family: str | None) -> dict[str, dict[str, Any]]:
    (one,) = [f for f in entry["families"] if f["family"] == family]
    return {row["system"]: row for row in one["rows"]}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return found()


def test_one_system_and_its_controls_are_nothing_to_set_side_by_side() -> None:
    rows = [
        *system("dense", 0.0),
        *masked("issp", 0.01, 0.5, issp_preset="isp_published_votes"),
        *masked("random_mask", 0.2, 0.5),
    ]
    summary = summarise(
        table(rows), sweep="s", planned=9, device="cpu", device_hours=0, device_hours_saved=0,
        wall_s=None, axes=AXES,
    )  # fmt: skip
    assert summary["systems"] is None
    assert found([*rows, *system("tickets", 0.01, patch_drop=0.2)])["families"]


def test_two_systems_of_one_family_stand_side_by_side() -> None:
    published = masked("issp", 0.01, 0.5, issp_preset="isp_published_votes")
    entry = found([*system("dense", 0.0), *published, *masked("magnitude", 0.012, 0.5)])
    assert [f["family"] for f in entry["families"]] == [None, "weights"]
    assert entry["matched"]
    assert entry["claims"]


def test_every_setting_is_in_one_family_in_the_order_of_the_table(whole: dict[str, Any]) -> None:
    assert [f["family"] for f in whole["families"]] == [None, *FAMILIES]
    assert {f["family"]: list(rows_of(whole, f["family"])) for f in whole["families"]} == {
        None: ["Dense"],
        "tokens": ["EViT", "ToMe", "ToMe, random pairs", "DynamicViT", "Random tokens"],
        "tickets": ["Tickets only", "Random tickets (PatchDropout)"],
        "weights": [
            "One-shot pruning only", "ISP without denoiser", "ISP, merge by votes",
            "Lottery tickets (LTH)", "Progressive pruning", "Random mask", "One-shot magnitude",
        ],
        "lotus": ["LOTUS", "One-shot magnitude"],
        "combined": ["LOTUS with ToMe"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "drops", "reduces", "family"),
    [
        ("dense", False, False, None),
        ("dense", False, True, None),
        ("evit", False, True, "tokens"),
        ("tickets", True, False, "tickets"),
        ("tickets", True, True, "combined"),
        ("issp", False, False, "weights"),
        ("lotus", False, False, "weights"),
        ("magnitude", True, False, "lotus"),
        ("essential", False, True, "combined"),
        ("unheard_of", False, False, None),
    ],
)
def test_a_family_follows_from_what_leaves(
    name: str, drops: bool, reduces: bool, family: str | None
) -> None:
    assert family_of(name, drops, reduces) == family


def test_each_system_is_compared_with_its_own_control(whole: dict[str, Any]) -> None:
    controls = {
        (f["family"], row["system"], row["trained"]): [c["control"] for c in row["controls"]]
        for f in whole["families"] for row in f["rows"] if row["controls"]
    }  # fmt: skip
    assert controls == {
        ("tokens", "EViT", True): ["Random tokens"],
        ("tokens", "ToMe", True): ["ToMe, random pairs"],
        ("tickets", "Tickets only", True): ["Random tickets (PatchDropout)"],
        **{
            ("weights", name, True): ["Random mask"]
            for name in rows_of(whole, "weights") if name != "Random mask"
        },
        ("lotus", "LOTUS", True): ["One-shot magnitude"],
    }  # fmt: skip


def test_a_system_without_its_control_says_what_to_add(whole: dict[str, Any]) -> None:
    tokens = rows_of(whole, "tokens")
    assert "reduction.count: [initial]" in tokens["DynamicViT"]["no_control"]
    assert tokens["EViT"]["no_control"] is None
    assert tokens["Random tokens"]["no_control"] is None, "a control needs none"
    assert tokens["Random tokens"]["control"]
    assert not tokens["EViT"]["control"]


@pytest.mark.parametrize(
    ("method", "own", "chance", "same"),
    [
        ("tome", "17/15/13/11 → 9", "17/15/13/11 → 9", True),
        ("tome", "17/15/13/11 → 9", "17/17/13/11 → 9", False),
        ("dynamicvit", "17/13/11/9 → 9", "17/17/13/11 → 9", True),
        ("dynamicvit", "17/13/11/9 → 9", "17/13/11/9 → 7", False),
    ],
)
def test_chance_controls_a_system_where_as_many_tokens_stay_in_every_block(
    method: str, own: str, chance: str, same: bool
) -> None:
    rows = [
        *reduced(method, 0.01, own, reduction_keep=0.8, reduction_train="True"),
        *reduced("random", 0.02, chance, reduction_keep=0.9, reduction_train="True"),
    ]
    all_systems = systems_of(table(rows), group_settings(table(rows), AXES))
    mine = next(s for s in all_systems if s.setting.arm == method)
    assert [c.name for c in own_controls(mine, all_systems)] == ["Random tokens"] * same


def test_a_random_mask_of_another_sparsity_controls_nothing() -> None:
    rows = [
        *masked("magnitude", 0.01, 0.5),
        *masked("random_mask", 0.2, 0.7),
        *system("tickets", 0.0, patch_drop=0.1),
    ]
    weights = rows_of(found(rows), "weights")
    assert weights["One-shot magnitude"]["controls"] == []
    assert "patch_drop: [0]" in weights["One-shot magnitude"]["no_control"]


def test_a_finished_model_that_is_reduced_is_marked(whole: dict[str, Any]) -> None:
    (tokens,) = [f for f in whole["families"] if f["family"] == "tokens"]
    assert [r["trained"] for r in tokens["rows"] if r["system"] == "ToMe"] == [True, False]


def test_intervals_of_a_family_hold_together(whole: dict[str, Any]) -> None:
    for family in whole["families"]:
        entries = [
            entry for row in family["rows"] for entry in (row["dense"], *row["controls"]) if entry
        ]
        assert family["comparisons"] == len(entries)
        assert {entry["family_size"] for entry in entries} <= {family["comparisons"]}
    evit = rows_of(whole, "tokens")["EViT"]["dense"]
    alone, together = (evit[f"seeds_{k}high"] - evit[f"seeds_{k}low"] for k in ("", "corrected_"))
    assert together > alone > 0


def test_verdicts_and_costs_of_one_system(whole: dict[str, Any]) -> None:
    evit = rows_of(whole, "tokens")["EViT"]
    assert evit["test_accuracy"] == pytest.approx(0.89)
    assert (evit["macs_ratio"], evit["kept"], evit["training_ratio"]) == (0.75, 1.0, 1.0)
    assert evit["reference"] == "fine_tuned"
    assert evit["dense"]["mean"] == pytest.approx(-0.01)
    assert evit["dense"]["verdict"] == "worse"
    assert evit["controls"][0]["verdict"] == "better"
    assert rows_of(whole, "weights")["Lottery tickets (LTH)"]["training_ratio"] == 4.0
    assert rows_of(whole, "weights")["ISP, merge by votes"]["kept"] == 0.5


def test_a_large_grid_shows_the_best_settings_of_a_system_and_counts_the_others() -> None:
    many = MOST_SETTINGS + 3
    rows = [
        row for i in range(many)
        for row in system("tickets", 0.01 + i / 500, patch_drop=0.02 + i / 50)
    ]  # fmt: skip
    entry = found([*rows, *masked("magnitude", 0.01, 0.5)])
    (tickets,) = [f for f in entry["families"] if f["family"] == "tickets"]
    assert tickets["left_out"] == 3
    drops = [row["setting"]["patch_drop"] for row in tickets["rows"]]
    assert drops == [0.02 + i / 50 for i in range(MOST_SETTINGS)], "by validation"


def test_the_outcomes_of_what_is_compared_here_are_read() -> None:
    wanted = set(wanted_trials(table(), axes=AXES))
    compared = [
        row["key"] for row in every_family()
        if row["arm"] in ("reduced", "issp", "magnitude", "random_mask")
    ]  # fmt: skip
    assert set(compared) - {k for k in compared if "dynamicvit" in k} <= wanted
    assert pd.DataFrame(every_family())["key"].is_unique


def test_ways_to_prune_stand_at_equal_sparsity_from_chance_to_isp(whole: dict[str, Any]) -> None:
    rows = whole["matched"]
    assert [(row["sparsity"], row["system"]) for row in rows] == [
        (0.5, name)
        for name in (
            "Random mask", "One-shot magnitude", "Progressive pruning",
            "Lottery tickets (LTH)", "ISP without denoiser", "ISP, merge by votes",
        )
    ]  # fmt: skip
    assert {row["n"] for row in rows} == {3}
    assert rows[3]["extra"] == "a training before each prune"
    assert rows[1]["extra"] == ""


def test_a_way_that_trains_longer_is_not_matched_with_the_others() -> None:
    rows = [
        *system("tickets", 0.0, patch_drop=0.1),
        *masked("issp", 0.01, 0.5, issp_preset="progressive"),
        *masked("magnitude", 0.02, 0.5),
        *[
            row | {"finetune.epochs": 9.0}
            for row in masked("issp", 0.0, 0.5, issp_preset="isp_code")
        ],
    ]
    assert [row["system"] for row in found(rows)["matched"]] == [
        "One-shot magnitude",
        "ISP without denoiser",
    ]
    assert found(rows[:6])["matched"] == [], "a reading alone has nothing beside it"


def test_axes_that_a_system_does_not_read_do_not_say_where_it_stands() -> None:
    rows = [
        *reduced("evit", 0.01, "17 → 10", reduction_keep=0.7),
        *masked("magnitude", 0.02, 0.5),
        *masked("magnitude", 0.02, 0.7),
    ]
    rows = [row | {"issp.preset": "default"} for row in rows]
    rows[:3] = [row | {"issp.target_sparsity": 0.5} for row in rows[:3]]
    entry = found(rows)
    evit = rows_of(entry, "tokens")["EViT"]
    assert evit["point"] == {"reduction.keep": 0.7}
    assert evit["setting"]["issp.target_sparsity"] == 0.5
    assert rows_of(entry, "weights")["One-shot magnitude"]["point"]["issp.target_sparsity"] == 0.7


def test_dense_is_the_reference_whatever_its_block_says_of_pruning() -> None:
    dense = [row | {"issp.target_sparsity": 0.8} for row in system("dense", 0.0)]
    rows = [*dense, *masked("magnitude", 0.02, 0.5), *system("tickets", 0.01, patch_drop=0.1)]
    entry = rows_of(found(rows), "weights")["One-shot magnitude"]
    assert entry["reference"] == "fine_tuned"
    assert entry["dense"]["mean"] == pytest.approx(-0.02)
    other = [row | {"finetune.lr": 2.0} for row in dense]
    rest = [row | {"finetune.lr": 1.0} for row in rows[3:]]
    trained = group_settings(table([*other, *rest]), [*AXES, "finetune.lr"])
    mine = next(s for s in trained if s.arm == "magnitude")
    assert dense_for(mine, trained) is None, "another recipe is no reference"


def test_the_table_of_arms_has_the_same_difference_to_dense() -> None:
    trials = table()
    summary = summarise(
        trials, sweep="s", planned=len(trials), device="cpu", device_hours=0.0,
        device_hours_saved=0.0, wall_s=None, axes=AXES,
    )  # fmt: skip
    rows = [row for f in summary["systems"]["families"] for row in f["rows"] if row["dense"]]
    compared = 0
    for arm in summary["arms"]:
        for row in rows:
            if (row["arm"], row["setting"]) == (arm["arm"], arm["setting"]):
                compared += 1
                assert row["dense"]["mean"] == arm["difference_to_dense"]
                assert row["dense"]["models_low"] == arm["models_low"]
                assert row["dense"]["seeds_high"] == arm["seeds_high"]
    assert compared == len(summary["arms"]) - 1, "all but dense"
