"""The answer of a sweep: curve, essential sparsity, arms, recommendation, summary."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.selection import (
    arms,
    essential_sparsity,
    one_shot_curve,
    recommendation,
    select,
    summarise,
)
from orchestrator.selection.arms import ArmRow
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.pareto import DIGITS
from orchestrator.selection.recommendation import Recommended
from orchestrator.selection.rows import TIE
from orchestrator.selection.series import SERIES
from orchestrator.selection.settings import WHOLE, group_settings
from orchestrator.selection.statistics import wilson
from orchestrator.selection.wording import in_words
from trials.arms import IN_WORDS, NAMES
from trials.sparsity.detect import DETECTORS

HUGE = 1e20  # images: no noise from their choice
DENSE = 0.98
LOTUS_ARMS = ("tickets", "essential", "issp", "lotus")
CONTROLS = ("random_patches", "random_mask", "magnitude")
"""The arms of the sweeps here; numbers below count their trials."""


def trial(arm: str = "lotus", seed: int = 0, **values: Any) -> dict[str, Any]:
    """A finished trial; `drop` and `final_drop` are below the dense model, without noise."""
    n, drop, final = values.pop("n", HUGE), values.pop("drop", 0.0), values.pop("final_drop", 0.0)
    level = values.get("sparsity", 0.3)
    row = {
        "arm": arm, "seed": seed, "status": "FINISHED", "error": None,
        "sparsity": level, "patch_drop": 0.1, "mask_data_fraction": 0.1,
        "stage.dense": f"dense-{seed}", "stage.essential": f"essential-{seed}-{level}",
        "dense/val_accuracy": DENSE, "dense/test_accuracy": 0.97, "dense/val_n": n,
        "dense/test_n": n, "essential/val_accuracy": DENSE - drop,
        "essential/val_lost": max(drop, 0) * n, "essential/val_gained": max(-drop, 0) * n,
        "final/val_accuracy": DENSE - final, "final/test_accuracy": 0.97 - final,
        "final/test_lost": max(final, 0) * n, "final/test_gained": max(-final, 0) * n,
        "final/val_lost": max(final, 0) * n, "final/val_gained": max(-final, 0) * n,
        "final/sparsity": 0.5, "final/sparsity_model": 0.49, "final/macs": 90.0,
        "final/macs_selector": 10.0, "final/macs_dense": 100.0, "final/macs_training": 500.0,
        "issp/val_accuracy": 0.95,
    }  # fmt: skip
    row |= values
    for deployed, whole in WHOLE.items():  # as good on the patches that it keeps
        row.setdefault(deployed, row[whole])
    row.setdefault("final/macs_deployed", row["final/macs"] + row["final/macs_selector"])
    row.setdefault("key", f"{arm}-{seed}-{level}-{row['patch_drop']}-{row['mask_data_fraction']}")
    row.setdefault("name", f"{arm}-s{level}-seed{seed}")
    return row


def sweep(drops: Mapping[float, float], seeds: Sequence[int] = (0, 1, 2), n: float = HUGE) -> Any:
    return pd.DataFrame(
        [trial(seed=s, sparsity=level, drop=d, n=n) for level, d in drops.items() for s in seeds]
    )


def summary(results: pd.DataFrame, **options: Any) -> dict[str, Any]:
    given = {"sweep": "s", "planned": len(results), "device": "cpu", "device_hours": 1.0,
             "device_hours_saved": 0.5, "wall_s": None} | options  # fmt: skip
    return summarise(results, **given)


def arms_table(results: pd.DataFrame, axes: Sequence[str] = ()) -> list[ArmRow]:
    points = group_settings(results, axes)
    return arms.arms_table(points, Spreads(points))


def recommend(results: pd.DataFrame, tolerance: float = 0.01) -> Recommended | None:
    points = group_settings(results)
    return recommendation.recommend(points, Spreads(points), tolerance=tolerance)


# --- the one-shot curve ---------------------------------------------------------------


def against_level_zero(shift: float = 0.0, dense: float = DENSE) -> pd.DataFrame:
    """Levels that lose 0, half a point, 3 points against level 0 after the same recovery."""
    n, zero, found = 2000, 0.9 + shift, []
    for seed in range(3):
        for level, drop in ((0.0, 0.0), (0.3, 0.005), (0.5, 0.03)):
            measured = {
                "essential/val_accuracy": zero - drop, "essential/val_lost": drop * n,
                "essential/val_gained": 0.0, "essential/reference_val_accuracy": zero,
            }  # fmt: skip
            found.append(
                trial("essential", seed, n=n, sparsity=level)
                | {"dense/val_accuracy": dense}
                | measured
            )
    return pd.DataFrame(found)


def test_a_merge_that_leaves_the_denoiser_nothing_to_say_is_named() -> None:
    def said(merge: str, arm: str = "issp") -> list[str]:
        table = sweep({0.3: 0.0}).to_dict("records")
        table += [trial(arm, **{"issp.merge": merge, "key": f"{merge}-{arm}"})]
        return [text for text in summary(pd.DataFrame(table))["warnings"] if "denoiser" in text]

    (found,) = said("isp_literal")
    assert found.startswith("The denoiser cannot act: in 1 trial `issp.merge` is isp_literal")
    assert said("vote_topk") == said("isp_literal", "magnitude") == []


def test_levels_are_compared_with_level_zero_where_that_is_the_reference() -> None:
    curve = one_shot_curve(against_level_zero())
    assert curve["sparsity"].tolist() == [0.0, 0.3, 0.5]
    assert curve["val_accuracy"].tolist() == pytest.approx([0.9, 0.895, 0.87])
    assert curve["drop"].tolist() == pytest.approx([0.0, 0.005, 0.03])


def test_losses_after_fine_tuning_are_said_to_be_so() -> None:
    table = against_level_zero()
    for evaluate, when in (("one_shot", "before"), ("after_finetune", "after")):
        said = summary(table.assign(**{"essential.evaluate": evaluate}))
        assert said["essential_sparsity"]["evaluate"] == evaluate
        assert f"of at most 1 point, {when} fine-tuning; at 50 %" in said["answer"]["essential"]


def test_each_seed_that_recovers_one_dense_model_has_a_curve_of_its_own() -> None:
    apart = against_level_zero()
    at_once = apart.assign(**{"stage.dense": "the same"})
    pd.testing.assert_frame_equal(one_shot_curve(at_once), one_shot_curve(apart))
    assert one_shot_curve(at_once)["n"].tolist() == [3, 3, 3]
    found = essential_sparsity(at_once)
    assert found is not None
    assert found.scope == "other seeds"
    said = " ".join(summary(at_once)["warnings"])
    assert "dense model on the one-shot curve" not in said
    assert "averages over it" not in said


@pytest.mark.parametrize(("shift", "dense"), [(0.0, 0.5), (-0.4, DENSE), (0.05, 0.1)])
def test_the_essential_sparsity_does_not_move_when_every_accuracy_does(
    shift: float, dense: float
) -> None:
    found, plain = (
        essential_sparsity(t) for t in (against_level_zero(shift, dense), against_level_zero())
    )
    assert found is not None
    assert plain is not None
    assert (found.value, found.bracket) == (plain.value, plain.bracket) == (0.3, (0.3, 0.5))
    assert (found.low, found.high) == (plain.low, plain.high)
    assert found.reference == "level_zero"


def test_trials_that_share_a_stage_count_once() -> None:
    once = sweep({0.1: 0.001, 0.3: 0.02})
    shared = pd.concat([once.assign(patch_drop=q, arm=a) for q in (0.0, 0.1) for a in LOTUS_ARMS])
    pd.testing.assert_frame_equal(one_shot_curve(once), one_shot_curve(shared))
    assert one_shot_curve(shared)["n"].tolist() == [3, 3, 3]


def test_the_curve_ascends_from_the_dense_model_where_it_was_measured() -> None:
    curve = one_shot_curve(sweep({0.5: 0.1, 0.1: 0.0, 0.3: 0.01}))
    assert curve["sparsity"].tolist() == [0.0, 0.1, 0.3, 0.5]
    assert curve.loc[0, "drop"] == 0
    assert curve.loc[0, ["drop_low", "drop_high"]].isna().all(), "0 by definition, not measured"
    np.testing.assert_allclose(curve["val_accuracy"], [0.98, 0.98, 0.97, 0.88])
    np.testing.assert_allclose(curve["drop"], [0, 0, 0.01, 0.1], atol=1e-12)
    bare = sweep({0.1: 0.0}).drop(columns="dense/val_accuracy")
    assert one_shot_curve(bare)["sparsity"].tolist() == [0.1]


def test_limits_hold_their_estimate_and_accuracies_stay_fractions() -> None:
    curve = one_shot_curve(sweep({0.1: 0.0, 0.5: 0.9, 0.7: 0.98}, n=200))
    assert (curve["ci_low"] <= curve["val_accuracy"]).all()
    assert (curve["val_accuracy"] <= curve["ci_high"]).all()
    assert curve[["ci_low", "ci_high"]].stack().between(0, 1).all()
    assert (curve["drop_low"] <= curve["drop"])[1:].all()
    assert (curve["drop"] <= curve["drop_high"])[1:].all()


def test_masks_of_control_arms_are_not_on_the_curve() -> None:
    good = sweep({0.3: 0.0})
    control = pd.DataFrame([
        trial("random_mask", sparsity=0.3, drop=0.5, **{"stage.essential": "random"}),
        trial("magnitude", sparsity=0.4, drop=0.5),
    ])  # fmt: skip
    both = one_shot_curve(pd.concat([good, control]))
    pd.testing.assert_frame_equal(both, one_shot_curve(good))


def test_two_masks_of_one_dense_model_at_one_level_weigh_the_same_and_are_said() -> None:
    masks = (("a", 0.02, 0.0), ("a", 0.02, 0.1), ("b", 0.04, 0.0))
    table = pd.DataFrame(
        [trial(drop=d, patch_drop=q, **{"stage.essential": m}) for m, d, q in masks]
    )
    level = one_shot_curve(table).iloc[1]
    assert level["n"] == 1
    assert level["drop"] == pytest.approx(0.03)
    assert any("averages over it" in w for w in summary(table)["warnings"])


def test_dense_models_on_unequal_counts_get_the_noise_of_the_smaller() -> None:
    rows = [trial(seed=s, sparsity=0.1, drop=0.02, n=n) for s, n in ((0, 400), (1, 40_000))]
    curve = one_shot_curve(pd.DataFrame(rows))
    for level, accuracy in ((0, DENSE), (1, DENSE - 0.02)):
        low, high = wilson(accuracy, 400)
        assert curve.loc[level, ["ci_low", "ci_high"]].tolist() == pytest.approx([low, high])


def test_levels_that_differ_by_rounding_are_one_level() -> None:
    table = sweep({0.3: 0.0})
    table.loc[0, "sparsity"] = 0.1 + 0.2
    assert one_shot_curve(table)["sparsity"].tolist() == [0.0, 0.3]


def test_without_stage_keys_a_seed_stands_for_its_dense_model() -> None:
    table = sweep({0.1: 0.0, 0.3: 0.02})
    bare = table.drop(columns=["stage.dense", "stage.essential"])
    pd.testing.assert_frame_equal(one_shot_curve(bare), one_shot_curve(table))


def test_a_trial_that_failed_later_still_measured_its_level() -> None:
    table = sweep({0.1: 0.0, 0.3: 0.02})
    failed = table.assign(status="FAILED")
    pd.testing.assert_frame_equal(one_shot_curve(failed), one_shot_curve(table))


# --- the essential sparsity -----------------------------------------------------------


@pytest.mark.parametrize(
    ("drops", "value", "bracket"),
    [
        ({0.1: 0.0, 0.3: 0.005, 0.5: 0.02, 0.7: 0.4}, 0.3, (0.3, 0.5)),
        ({0.1: 0.02, 0.3: 0.3}, 0.0, (0.0, 0.1)),
        ({0.1: 0.0, 0.3: 0.005}, 0.3, (0.3, None)),
        ({0.1: 0.0, 0.3: 0.02, 0.5: 0.0}, 0.1, (0.1, 0.3)),
        ({0.1: -0.01, 0.3: 0.01, 0.5: 0.011}, 0.3, (0.3, 0.5)),
    ],
    ids=["inside", "first level", "none", "first of two", "a drop of exactly the tolerance"],
)
def test_without_noise_the_limits_are_the_bracket_less_its_last_twentieth(
    drops: dict[float, float], value: float, bracket: tuple[float, float | None]
) -> None:
    found = essential_sparsity(sweep(drops), tolerance=0.01)
    assert found is not None
    assert (found.value, found.bracket) == (value, bracket)
    assert found.low == bracket[0]
    if bracket[1] is None:
        assert found.high is None
    else:
        assert found.high == pytest.approx(bracket[0] + 0.95 * (bracket[1] - bracket[0]))


@pytest.mark.parametrize("noise", [1e-12, -1e-12, 0.98 - 0.97 - 0.01])
def test_a_drop_equal_to_the_tolerance_is_within_it(noise: float) -> None:
    table = sweep({0.3: 0.01}).drop(columns=["essential/val_lost", "essential/val_gained"])
    table["essential/val_accuracy"] = 0.97 + noise
    found = essential_sparsity(table, tolerance=0.01)
    assert found is not None
    assert found.bracket == (0.3, None)


def test_noise_widens_the_limits_around_the_value() -> None:
    drops = {0.1: 0.0, 0.3: 0.008, 0.5: 0.012, 0.7: 0.3}
    found = essential_sparsity(sweep(drops, n=4000))
    assert found is not None
    assert found.value == 0.3
    assert found.low is not None
    assert found.low < 0.3
    assert (found.high or 1) > 0.5
    certain = essential_sparsity(sweep(drops))
    assert certain is not None
    assert certain.low is not None
    assert (found.high or 1) - found.low > 2 * ((certain.high or 1) - certain.low)


def test_the_levels_that_auto_measures_count_once_and_its_trials_do_not_repeat_them() -> None:
    drops = {0.1: 0.0, 0.2: 0.005, 0.4: 0.03}
    grid = sweep(drops, seeds=(0,))
    measured = grid.assign(arm=None, seed=np.nan, status="FINISHED")
    repeats = {"stage.pick": "pick", "stage.essential": "auto"}
    auto = pd.DataFrame([trial(sparsity=0.2, drop=0.005, patch_drop=q, **repeats) for q in (0, 1)])
    expected = one_shot_curve(grid)
    for parts in ([auto, measured], [grid, auto, measured]):
        table = pd.concat(parts, ignore_index=True)
        pd.testing.assert_frame_equal(one_shot_curve(table), expected)
        assert not any("averages over it" in w for w in summary(auto, curve=table)["warnings"])
    assert one_shot_curve(auto)["sparsity"].tolist() == [0.0, 0.2], "alone it is all there is"


def test_the_summary_reads_its_curve_from_what_measured_it() -> None:
    auto = pd.DataFrame([trial(sparsity=0.2, drop=0.005, **{"stage.pick": "p"})])
    found = summary(auto, curve=sweep({0.1: 0.0, 0.2: 0.005, 0.4: 0.03}))["essential_sparsity"]
    assert (found["value"], found["bracket"]) == (0.2, [0.2, 0.4])
    assert [d["detector"] for d in found["detectors"]] == list(DETECTORS)
    chosen = found["detectors"][0]
    assert all(chosen[name] == found[name] for name in ("value", "low", "high", "bracket"))


curves = st.dictionaries(
    st.integers(1, 19).map(lambda k: k / 20), st.integers(-5, 60).map(lambda k: k / 1000),
    min_size=1, max_size=8,
)  # fmt: skip


@given(curves, st.sampled_from([500, 5000, HUGE]), st.integers(1, 3), st.data())
def test_the_essential_sparsity_grows_with_the_tolerance(
    drops: dict[float, float], n: float, seeds: int, data: st.DataObject
) -> None:
    table = sweep(drops, range(seeds), n)
    small, large = sorted(data.draw(st.tuples(*[st.integers(0, 60)] * 2)))
    a = essential_sparsity(table, small / 1000)
    b = essential_sparsity(table, large / 1000)
    assert a is not None
    assert b is not None
    assert a.value <= b.value
    if a.low is not None and b.low is not None:
        assert a.low <= b.low
        assert (a.high or 1) <= (b.high or 1)
    for found in (a, b):
        assert found.value == found.bracket[0]
        if found.low is None:
            assert found.high is None
            assert n < HUGE or found.bracket[1] is None or np.ptp(found.bracket) > 0.5
            continue
        assert found.low <= found.value < (found.high or 1)


def test_a_detector_is_one_entry_in_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "again", DETECTORS["first_violation"])
    table = sweep({0.1: 0.0, 0.3: 0.02})
    found = essential_sparsity(table, detector="again")
    assert found is not None
    assert (found.detector, found.value) == ("again", 0.1)
    with pytest.raises(ValueError, match=r"'kneee'.*first_violation"):
        essential_sparsity(table, detector="kneee")


@pytest.mark.parametrize("tolerance", [-0.01, 1])
def test_a_tolerance_that_is_no_fraction_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="1 point"):
        essential_sparsity(sweep({0.1: 0.0}), tolerance)


# --- arms -----------------------------------------------------------------------------


def test_an_arm_stands_at_its_best_setting_by_validation_whatever_the_test_says() -> None:
    table = pd.DataFrame([
        *[trial(seed=s, patch_drop=0.1, final_drop=0.010 + 0.001 * s) for s in range(3)],
        *[trial(seed=s, patch_drop=0.3, final_drop=0.012 + 0.001 * s,
                **{"final/test_accuracy": 0.99}) for s in range(3)],
    ])  # fmt: skip
    [row] = arms_table(table)
    assert row.setting == {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}
    assert (row.n, row.scope) == (3, "other seeds")
    assert row.val_accuracy_mean == pytest.approx(DENSE - 0.011)
    assert row.test_accuracy_mean == pytest.approx(0.97 - 0.011)
    half = 4.302652729911275 * 0.001 / 3**0.5
    assert (row.ci_low, row.ci_high) == pytest.approx((0.959 - half, 0.959 + half))
    assert (row.macs_ratio, row.macs_ratio_kept) == pytest.approx((1.0, 0.9))
    assert (row.sparsity_mean, row.sparsity_model_mean) == pytest.approx((0.5, 0.49))


def test_the_difference_to_dense_is_paired_and_signed_for_the_arm() -> None:
    worse, better = (
        arms_table(pd.DataFrame([trial(final_drop=d, n=1000)]))[0] for d in (0.02, -0.02)
    )
    assert worse.difference_to_dense == pytest.approx(-0.02)
    assert better.difference_to_dense == pytest.approx(0.02)
    assert worse.models_low == pytest.approx(-(better.models_high or 0))
    assert worse.models_low < -0.02 < (worse.models_high or 0) < 0  # type: ignore[operator]
    assert worse.reference == better.reference == "before_fine_tuning"
    assert (worse.seeds_low, worse.seeds_high) == (None, None), "one seed"


def test_one_seed_gets_the_interval_of_its_images_and_says_so() -> None:
    [row] = arms_table(pd.DataFrame([trial(n=1000)]))
    assert (row.n, row.scope) == (1, "these models")
    assert row.ci_low is not None
    assert row.ci_low < 0.97 < (row.ci_high or 0)
    bare = pd.DataFrame([trial(n=1000)]).drop(columns="dense/test_n")
    assert (arms_table(bare)[0].ci_low, arms_table(bare)[0].ci_high) == (None, None)


def test_arms_stand_in_their_order_and_unfinished_trials_do_not_count() -> None:
    table = pd.DataFrame([
        trial("magnitude"), trial("lotus"), trial("dense"), trial("tickets", status="RUNNING"),
        trial("issp", status="FAILED"), trial("lotus", seed=1, **{"final/val_accuracy": np.nan}),
    ])  # fmt: skip
    assert [(r.arm, r.n) for r in arms_table(table)] == [
        ("dense", 1), ("lotus", 1), ("magnitude", 1),
    ]  # fmt: skip


def test_another_axis_tells_settings_apart_when_it_is_named() -> None:
    table = pd.DataFrame([
        trial(seed=s, final_drop=d, **{"issp.merge": m})
        for s in range(2) for m, d in (("vote_topk", 0.01), ("union_kept", 0.03))
    ])  # fmt: skip
    [named], [blind] = arms_table(table, axes=["issp.merge", "seed"]), arms_table(table)
    assert named.setting["issp.merge"] == "vote_topk"
    assert named.val_accuracy_mean == pytest.approx(0.97)
    assert (blind.n, blind.val_accuracy_mean) == (2, pytest.approx(0.96))
    assert any("was not named" in w for w in summary(table)["warnings"])
    assert not any("was not named" in w for w in summary(table, axes=["issp.merge"])["warnings"])


def test_trials_that_found_their_own_sparsity_are_one_setting_of_all_seeds() -> None:
    own = [
        trial(seed=s, sparsity=level, final_drop=0.01, auto_sparsity=True)
        for s, level in enumerate((0.31, 0.33, 0.34))
    ]
    table = pd.DataFrame([*own, *(trial(seed=s, final_drop=0.02) for s in range(3))])
    [row] = arms_table(table)
    assert (row.setting["sparsity"], row.n) == ("auto", 3)
    assert (chosen := recommend(table)) is not None
    assert chosen.setting["sparsity"] == "auto"
    assert chosen.sparsity == "auto", "the setting's; each of its trials found another level"
    assert chosen.seed == 1, "the median seed; of equal ones by their order"


# --- the recommendation ---------------------------------------------------------------


def test_within_tolerance_the_fewest_macs_win_then_sparsity_then_accuracy() -> None:
    def key_of(*options: dict[str, Any]) -> str | None:
        table = pd.DataFrame([trial("dense"), *[trial(key=str(i), sparsity=0.1 * i, **o)
                                                for i, o in enumerate(options)]])  # fmt: skip
        found = recommend(table)
        assert found is not None
        return found.trial_key

    small, sparse = {"final/macs": 70.0}, {"final/sparsity": 0.7}
    assert key_of({}, {"final_drop": 0.009, **small}, sparse) == "1"
    assert key_of({}, {"final_drop": 0.009, **sparse}, {"final_drop": -0.01}) == "1"
    selecting = {"final/macs": 60.0, "final/macs_selector": 41.0}  # cheap but for its choice
    assert key_of({}, selecting) == "0"
    assert key_of({"final_drop": 0.005}, {"final_drop": 0.004}) == "1"
    assert key_of({"final_drop": 0.005}, {"final_drop": 0.02, **small, **sparse}) == "0"
    assert key_of({"final_drop": 0.01}, {"final_drop": 0.0101, **small}) == "0"


@pytest.mark.parametrize("noise", [1e-12, -1e-12, 0.0])
def test_an_accuracy_below_dense_by_exactly_the_tolerance_is_within_it(noise: float) -> None:
    exactly = {"final_drop": 0.01 + noise, "final/macs": 70.0}
    found = recommend(pd.DataFrame([trial("dense"), trial(sparsity=0.1), trial(**exactly)]), 0.01)
    assert found is not None
    assert (found.macs_ratio_kept, found.within_tolerance) == (0.7, True)


def test_when_nothing_is_within_tolerance_the_best_accuracy_is_named_as_such() -> None:
    found = recommend(pd.DataFrame([
        trial("dense"), trial(sparsity=0.3, final_drop=0.05), trial(sparsity=0.1, final_drop=0.03),
    ]))  # fmt: skip
    assert found is not None
    assert (found.within_tolerance, found.sparsity) == (False, 0.1)
    assert found.reason.startswith("None of 2 settings")


def test_the_dense_arm_is_the_reference_when_it_was_run() -> None:
    lotus = trial(final_drop=0.015)
    alone = recommend(pd.DataFrame([lotus]))
    against = recommend(pd.DataFrame([lotus, trial("dense", final_drop=0.01)]))
    assert alone is not None
    assert against is not None
    assert (alone.within_tolerance, against.within_tolerance) == (False, True)
    assert "before fine-tuning" in alone.reason
    assert "dense with equal fine-tuning" in against.reason
    assert (alone.reference, against.reference) == ("before_fine_tuning", "fine_tuned")
    assert against.difference == pytest.approx(-0.005)


@pytest.mark.parametrize("arm", ["dense", *CONTROLS])
def test_controls_and_dense_are_never_recommended(arm: str) -> None:
    assert recommend(pd.DataFrame([trial(arm)])) is None


def test_the_test_set_changes_nothing_that_is_selected() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame([
        trial(seed=s, sparsity=p, final_drop=float(rng.normal(0.01, 0.005)))
        for s in range(3) for p in (0.1, 0.3, 0.5)
    ])  # fmt: skip
    columns = [c for c in table.columns if "test_" in c and not c.endswith("_n")]
    assert len(columns) == 7
    other = table.copy()
    other[columns] = rng.permuted(other[columns].to_numpy(), axis=0)
    a, b = recommend(table), recommend(other)
    assert a is not None
    assert b is not None
    assert (a.trial_key, a.reason, a.chosen) == (b.trial_key, b.reason, b.chosen)
    assert a.test_accuracy != b.test_accuracy
    assert [r.setting for r in arms_table(table)] == [r.setting for r in arms_table(other)]


# --- what is missing ------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(),
        pd.DataFrame([{"arm": "lotus", "status": "FAILED", "error": "boom"}]),
        pd.DataFrame([{"arm": "lotus", "status": "RUNNING", "essential/val_accuracy": np.nan}]),
        pd.DataFrame([trial()]).assign(status="FAILED").filter(["arm", "status", "seed"]),
    ],
    ids=["empty", "only failed", "only running", "failed without metrics"],
)
def test_a_sweep_without_measurements_has_no_answer_and_no_error(table: pd.DataFrame) -> None:
    chosen = select(table)
    assert chosen.essential is None
    assert chosen.recommended is None
    assert one_shot_curve(table).empty
    out = json.loads(json.dumps(summary(table, planned=3), allow_nan=False))
    nothing = {
        "val_accuracy": None, "test_accuracy": None, "test_ci_low": None, "test_ci_high": None,
        "scope": "these models", "n": 0,
    }  # fmt: skip
    before = {"reference": "before_fine_tuning", "before_fine_tuning": nothing}
    assert out["dense"] == nothing | before
    assert out["arms"] == []


@pytest.mark.parametrize(
    "column", ["essential/val_accuracy", "sparsity", "final/val_accuracy", "arm"]
)
def test_an_absent_column_is_named_with_what_to_do(column: str) -> None:
    table = sweep({0.1: 0.0, 0.3: 0.02})
    with pytest.raises(ValueError, match=rf"no column `{column}`.*Pass the table"):
        select(table.drop(columns=column))


def test_without_any_dense_accuracy_the_best_is_recommended_and_shown_to_be_nothing() -> None:
    found = recommend(sweep({0.1: 0.0}).drop(columns=["dense/val_accuracy", "dense/test_accuracy"]))
    assert found is not None
    assert (found.chosen, found.verdict, found.difference) == (
        "best on validation", "not shown", None,
    )  # fmt: skip
    assert in_words(found) == "Its accuracy on test was not compared with dense."


def test_an_arm_without_pruning_alone_is_no_error() -> None:
    table = pd.DataFrame([trial("dense")]).drop(
        columns=["sparsity", "patch_drop", "essential/val_accuracy", "stage.essential"]
    )
    out = summary(table)
    assert out["essential_sparsity"] is None
    assert out["recommended"] is None
    assert [a["arm"] for a in out["arms"]] == ["dense"]


# --- the summary ----------------------------------------------------------------------


def full_sweep() -> pd.DataFrame:
    """Thirty trials of eight arms."""
    table = sweep({0.1: 0.0, 0.3: 0.004, 0.4: 0.03})
    others = [trial("dense", seed=s, **{"final/macs": 100.0, "sparsity": None}) for s in range(3)]
    controls = [trial(a, seed=s, final_drop=0.05 + 0.001 * s) for a in CONTROLS for s in range(3)]
    rest = [trial(a, seed=s) for a in LOTUS_ARMS[:3] for s in range(3)]
    return pd.concat([table, pd.DataFrame([*others, *controls, *rest])], ignore_index=True)


def test_the_summary_is_json_with_exactly_the_promised_fields() -> None:
    out = summary(full_sweep(), planned=30)
    assert json.loads(json.dumps(out, allow_nan=False)) == out
    assert list(out) == [
        "sweep", "confidence", "trials", "dense", "essential_sparsity", "known_arms", "arms",
        "comparisons", "recommended", "answer", "trust", "claims", "data_lth", "diagnosis",
        "pareto", "systems", "halving", *SERIES, "cost", "not_measured", "warnings",
    ]  # fmt: skip
    assert {"by_mask_data", "stage_seconds", "throughput"} <= SERIES.keys()
    assert out["trials"] == {"planned": 30, "finished": 30, "failed": 0}
    dense = {"val_accuracy": 0.98, "test_accuracy": 0.97, "test_ci_low": 0.97,
             "test_ci_high": 0.97, "n": 3}  # fmt: skip
    before = out["dense"].pop("before_fine_tuning")
    assert (out["dense"].pop("reference"), before.pop("scope")) == ("fine_tuned", "other seeds")
    assert out["dense"].pop("scope") == "other seeds"
    assert out["dense"] == pytest.approx(dense)
    assert before == pytest.approx(dense)
    assert set(out["essential_sparsity"]) == {
        "value", "low", "high", "scope", "bracket", "detector", "tolerance", "curve", "detectors",
        "reference", "evaluate",
    }  # fmt: skip
    assert out["essential_sparsity"]["bracket"] == [0.3, 0.4]
    assert set(out["essential_sparsity"]["curve"][0]) == {
        "sparsity", "val_accuracy", "ci_low", "ci_high", "drop", "drop_low", "drop_high", "n",
    }  # fmt: skip
    assert set(out["arms"][0]) == {
        "arm", "n", "val_accuracy_mean", "test_accuracy_mean", "ci_low", "ci_high", "scope",
        "test_accuracy_whole", "reference", "difference_to_dense", "models_low", "models_high",
        "seeds_low", "seeds_high", "sparsity_mean", "sparsity_model_mean", "macs_ratio",
        "macs_ratio_kept", "images_per_s_ratio", "setting", "near_dense_reached",
        "epochs_to_near_dense", "epochs_ci_low", "epochs_ci_high", "epochs_lowest",
        "epochs_highest",
    }  # fmt: skip
    assert {"trial_key", "n", "scope", "verdict", "difference", "seeds_low", "reason"} < set(
        out["recommended"]
    )
    assert out["cost"] == {
        "device": "cpu", "device_hours": 1.0, "device_hours_saved": 0.5, "wall_s": None,
        "words": "1.0 CPU-hours instead of 1.5 without sharing stages",
        "device_hours_predicted": None, "predicted_words": "",
    }  # fmt: skip
    assert out["recommended"]["within_tolerance"] is True
    assert type(out["arms"][0]["n"]) is int


def test_a_sound_sweep_has_no_warning_and_only_kernels_unmeasured() -> None:
    newer = [a for a in NAMES if a not in ("dense", *LOTUS_ARMS, *CONTROLS)]
    more = [trial(a, seed=s, final_drop=0.05 + 0.001 * s) for a in newer for s in range(3)]
    out = summary(pd.concat([full_sweep(), pd.DataFrame(more)], ignore_index=True))
    assert out["warnings"] == []
    [only] = out["not_measured"]
    assert "sparse kernels" in only


def failing(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[[0, 1], "status"] = "FAILED"
    table.loc[[0, 1], "error"] = "OutOfMemory\nlong trace"
    return table


def with_dense_seed(table: pd.DataFrame) -> pd.DataFrame:
    keep = ~((table["arm"] == "lotus") & (table["sparsity"] == 0.3) & (table["seed"] > 0))
    return table[keep]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (failing, "2 of 30 trials failed. Most frequent error: OutOfMemory"),
        (lambda t: t[t["sparsity"] != 0.4], "is a lower bound"),
        (lambda t: t.assign(sparsity=t["sparsity"].replace(0.4, 0.6)), "levels are coarse"),
        (lambda t: t[~t["sparsity"].isin([0.1, 0.3])], "lowest level, 0.4, already violates"),
        (lambda t: pd.concat([t, sweep({0.45: 0.001})]), "not monotone: at 0.45"),
        (lambda t: pd.concat([t, sweep({0.45: 0.2, 0.5: 0.1})]), "not monotone: at 0.5"),
        (lambda t: t[t["seed"] == 0], "n = 1 dense model"),
        (lambda t: t.drop(columns="essential/val_lost"), "no count of lost images"),
        (lambda t: t.assign(**{"issp/val_accuracy": 0.5}), "ISSP collapse: in 24 of 24"),
        (lambda t: t[~((t["sparsity"] == 0.4) & (t["seed"] > 0))], "rest on 1 to 3 dense models"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_said(change: Any, sentence: str) -> None:
    said = summary(change(full_sweep()), planned=30)["warnings"]
    assert any(sentence in w for w in said), said


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_as_good_as_lotus_is_said(control: str) -> None:
    table = full_sweep()
    alike = [trial(control, seed=s, final_drop=0.01 * (s - 1)) for s in range(3)]
    table = pd.concat([table[table["arm"] != control], pd.DataFrame(alike)], ignore_index=True)
    said = [w for w in summary(table)["warnings"] if "cannot be told apart" in w]
    assert len(said) == 1
    assert f"its control, {IN_WORDS[control].lower()}: " in said[0]


def test_a_control_of_one_seed_is_judged_by_the_noise_of_its_images() -> None:
    rows = [trial(n=200), trial("random_patches", final_drop=0.005, n=200)]
    assert any("cannot be told apart" in w for w in summary(pd.DataFrame(rows))["warnings"])
    rows[1] = trial("random_patches", final_drop=0.1, n=200)
    assert not any("cannot be told apart" in w for w in summary(pd.DataFrame(rows))["warnings"])


def test_random_patches_without_a_dropped_patch_are_no_control() -> None:
    rows = [trial(patch_drop=0.0), trial("random_patches", patch_drop=0.0)]
    assert not any("cannot be told apart" in w for w in summary(pd.DataFrame(rows))["warnings"])


def test_what_was_not_measured_is_said() -> None:
    said = " ".join(summary(sweep({0.1: 0.0}, seeds=[0]))["not_measured"])
    for part in ("dense, tickets, essential, issp", "`random_mask`", "lotus (1)",
                 "Other seeds: fewer", "beyond the essential sparsity",
                 "sparse kernels"):  # fmt: skip
        assert part in said


def test_warnings_from_outside_come_first_and_unfinished_trials_are_counted() -> None:
    out = summary(full_sweep(), planned=40, extra_warnings=["disk was full"], axes=["a.b", "seed"])
    assert out["warnings"][0] == "disk was full"
    assert "10 of 40 planned trials have not ended" in out["warnings"][1]
    assert "a.b" in out["warnings"][2]
    assert len(out["warnings"]) == 3


def test_the_front_tells_apart_what_everything_else_tells_apart() -> None:
    assert TIE / 10 <= 10.0**-DIGITS <= TIE
