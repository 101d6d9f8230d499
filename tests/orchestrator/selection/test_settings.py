"""Settings: what is one point of a sweep, and what old runs have not measured."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.selection.settings import (
    EQUAL_SPARSITY,
    TEST,
    VAL,
    Setting,
    agree,
    best_settings,
    comparable,
    group_settings,
    kept_macs_ratio,
    macs_ratio,
    preference,
    same_sparsity,
    speed_ratio,
    unmeasured,
)


def trial(arm: str = "lotus", seed: int = 0, **values: Any) -> dict[str, Any]:
    row = {
        "key": f"{arm}-{seed}-{sorted(map(str, values.items()))}", "arm": arm, "seed": seed,
        "status": "FINISHED", "sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1,
        "final/val_accuracy": 0.9, "final/test_accuracy": 0.88, "final/val_lost": 20,
        "final/val_gained": 5, "final/deployed_val_accuracy": 0.8,
        "final/deployed_test_accuracy": 0.78, "final/macs": 80.0, "final/macs_selector": 10.0,
        "final/macs_deployed": 90.0, "final/macs_dense": 100.0,
    }  # fmt: skip
    return row | values


def found(*trials: dict[str, Any], axes: tuple[str, ...] = ()) -> list[Setting]:
    return group_settings(pd.DataFrame(trials), axes)


def old(**values: Any) -> dict[str, Any]:
    """A trial of before: whole images, and the MACs of the kept patches."""
    names = ("final/deployed_", "final/macs_deployed", "final/macs_selector")
    return {k: v for k, v in trial(**values).items() if not k.startswith(names)}


# --- what one setting is --------------------------------------------------------------


def test_seeds_are_one_setting_and_each_seed_weighs_the_same() -> None:
    twice = {"final/deployed_val_accuracy": 0.6}
    (s,) = found(trial(seed=0), trial(seed=0, **twice), trial(seed=1, **twice))
    assert (len(s.trials), len(s.seeds)) == (3, 2)
    assert s.mean[VAL] == pytest.approx((0.7 + 0.6) / 2)
    assert {seed: len(trials) for seed, trials in s.by_seed().items()} == {0.0: 2, 1.0: 1}


def test_points_that_differ_by_rounding_are_one_and_an_axis_tells_apart_only_where_named() -> None:
    assert len(found(trial(sparsity=0.1 + 0.2), trial(sparsity=0.3, seed=1))) == 1
    merges = [trial(**{"issp.merge": m}) for m in ("vote_topk", "union_kept")]
    assert len(found(*merges)) == 1
    named = found(*merges, axes=("issp.merge", "seed", "arm", "sparsity"))
    assert [s.axes["issp.merge"] for s in named] == ["vote_topk", "union_kept"]
    assert list(named[0].axes) == ["sparsity", "patch_drop", "mask_data_fraction", "issp.merge"]
    with pytest.raises(ValueError, match=r"no column `issp\.rounds`.*Pass the table"):
        found(*merges, axes=("issp.rounds",))


def test_only_what_has_finished_counts() -> None:
    unfinished = [trial(status=s, seed=i) for i, s in enumerate(("RUNNING", "FAILED", "KILLED"))]
    stopped = trial(seed=5, **{"final/val_accuracy": None, "rung": 3})
    (s,) = found(trial(), *unfinished, stopped)
    assert len(s.trials) == 1
    assert len(found(trial(status=None))) == 1, "a table without a status"


def test_common_seeds_are_those_that_both_have() -> None:
    a, b = found(*(trial(seed=s) for s in (3, 0, 1)), *(trial("dense", seed=s) for s in (1, 3, 7)))
    assert a.seeds_with(b) == b.seeds_with(a) == [1.0, 3.0]


# --- which is best --------------------------------------------------------------------


def test_the_best_setting_is_by_deployed_validation_then_seeds_then_smaller_values() -> None:
    flattered = trial(patch_drop=0.3, **{"final/val_accuracy": 0.99, VAL: 0.7, TEST: 0.99})
    assert best_settings(found(flattered, trial()))["lotus"].axes["patch_drop"] == 0.1
    more = [trial(patch_drop=0.3, seed=s) for s in (0, 1)]
    assert best_settings(found(trial(), *more))["lotus"].axes["patch_drop"] == 0.3
    equal = [trial(patch_drop=0.3), trial()]
    assert best_settings(found(*equal))["lotus"].axes["patch_drop"] == 0.1
    assert sorted(found(*equal), key=preference)[0].axes["patch_drop"] == 0.1


def test_arms_stand_in_their_order_and_unknown_ones_last() -> None:
    arms = ("zebra", "magnitude", "lotus", "dense")
    assert list(best_settings(found(*map(trial, arms)))) == ["dense", "lotus", "magnitude", "zebra"]


def test_settings_agree_where_both_use_an_axis() -> None:
    a, dense = found(trial(), trial("dense", sparsity=None, mask_data_fraction=None, patch_drop=0))
    assert not agree(a, dense)
    assert agree(a, dense, ignored="patch_drop")


# --- what an old run has measured -----------------------------------------------------


@pytest.mark.parametrize("drop", [0.0, None])
def test_an_old_trial_that_keeps_all_patches_is_complete_without_a_guess(
    drop: float | None,
) -> None:
    (s,) = found(old(patch_drop=drop))
    assert (s.mean[VAL], s.mean[TEST]) == (0.9, 0.88)
    assert (s.mean["final/deployed_val_lost"], s.mean["final/deployed_val_gained"]) == (20, 5)
    assert (s.mean["final/macs_deployed"], s.mean["final/macs_selector"]) == (80, 0)
    assert unmeasured([s]) == 0


def test_an_old_trial_that_drops_patches_stays_unmeasured() -> None:
    (s,) = found(old(patch_drop=0.1))
    assert [s.mean[c] for c in (VAL, TEST, "final/macs_deployed", "final/macs_selector")] == [
        None, None, None, None,
    ]  # fmt: skip
    assert (macs_ratio(s.mean), kept_macs_ratio(s.mean)) == (None, 0.8)
    assert unmeasured([s]) == 1
    assert s.val_accuracy == 0.9, "it orders settings, nothing more"


def test_a_new_trial_is_taken_as_it_is() -> None:
    (s,) = found(trial(patch_drop=0.0))
    assert (s.mean[VAL], s.mean["final/macs_deployed"]) == (0.8, 90)
    assert (macs_ratio(s.mean), kept_macs_ratio(s.mean)) == (0.9, 0.8)
    assert speed_ratio(s.mean) is None
    speeds = {"profile/images_per_s": 150.0, "profile/images_per_s_dense": 100.0}
    assert speed_ratio(found(trial(**speeds))[0].mean) == 1.5


def test_without_macs_nothing_is_made_up_for_them() -> None:
    (s,) = found(old(patch_drop=0.0, **{"final/macs": None}))
    assert (s.mean["final/macs_deployed"], s.mean["final/macs_selector"]) == (None, None)


# --- comparing values -----------------------------------------------------------------


def test_sparsities_are_equal_up_to_one_tolerance() -> None:
    assert same_sparsity(0.5, 0.5 + 0.9 * EQUAL_SPARSITY)
    assert not same_sparsity(0.5, 0.5 + 1.1 * EQUAL_SPARSITY)
    assert same_sparsity(None, 0.5)


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.text(max_size=3),
                          st.booleans()), max_size=8))  # fmt: skip
def test_any_values_sort_and_hash(values: list[Any]) -> None:
    keys = [comparable(v) for v in values]
    assert len({*keys}) <= len(keys)
    assert sorted(keys) == sorted(keys[1:] + keys[:1])


def test_numbers_that_are_text_are_numbers() -> None:
    assert comparable("0.10") == comparable(0.1) == comparable(0.1 + 1e-12)
    assert comparable("5") == comparable(5)
    assert comparable("[]") == comparable([]) != comparable("[0.4]")
