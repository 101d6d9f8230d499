"""Arms against each other: what is compared, exact small cases, the summary."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from orchestrator.selection import summarise
from orchestrator.selection.comparisons import ArmComparison, Spreads, compare_arms
from orchestrator.selection.contrasts import MOST_SEEDS, contrasts, needed_trials
from orchestrator.selection.scopes import OTHER_SEEDS, THESE_MODELS
from orchestrator.selection.settings import Setting, group_settings
from orchestrator.selection.statistics import paired_drop

Bits = NDArray[np.bool_]


def trial(arm: str, seed: int = 0, **values: Any) -> dict[str, Any]:
    """A finished trial of an arm on the axes that it uses."""
    row = {
        "arm": arm, "seed": seed, "status": "FINISHED", "sparsity": 0.3, "patch_drop": 0.1,
        "mask_data_fraction": 0.1, "final/val_accuracy": 0.9, "final/test_accuracy": 0.9,
        "final/deployed_test_accuracy": 0.9, "final/sparsity": 0.6, "dense/val_accuracy": 0.9,
        "dense/val_n": 1000, "essential/val_accuracy": 0.9,
    } | values  # fmt: skip
    row.setdefault("final/deployed_val_accuracy", row["final/val_accuracy"])
    if arm in ("dense", "magnitude", "random_mask"):
        row |= {"sparsity": None, "mask_data_fraction": None}
    if arm == "dense":
        row |= {"patch_drop": None, "final/sparsity": 0.0}
    if arm == "issp":
        row |= {"patch_drop": None}
    places = [row[name] for name in ("sparsity", "patch_drop", "mask_data_fraction")]
    return {"key": f"{arm}-{seed}-{places}", "run_id": f"{arm}-{seed}-{places}"} | row


def found(*trials: dict[str, Any]) -> list[Setting]:
    return group_settings(pd.DataFrame(trials))


def bits(right: int, n: int, first: int = 0) -> Bits:
    """n images of which `right`, from `first` on, are right."""
    place = np.arange(n)
    return (place >= first) & (place < first + right)


def all_outcomes(trials: Sequence[dict[str, Any]], images: int = 50) -> dict[str, dict[str, Bits]]:
    names = ("deployed.test", "issp.validation", "control.validation")
    return {t["key"]: {name: bits(40, images) for name in names} for t in trials}


def measured(
    trials: Sequence[dict[str, Any]], outcomes: dict[str, dict[str, Bits]]
) -> list[dict[str, Any]]:
    """The trials with the test accuracies that their outcomes mean."""
    return [
        t | {"final/deployed_test_accuracy": float(outcomes[t["key"]]["deployed.test"].mean())}
        for t in trials
    ]


def compared(
    trials: Sequence[dict[str, Any]],
    outcomes: dict[str, dict[str, Bits]],
    confidence: float = 0.95,
) -> list[ArmComparison]:
    points = found(*measured(trials, outcomes))
    return compare_arms(contrasts(points), outcomes, Spreads(points), confidence)


# --- what is compared -----------------------------------------------------------------


def test_every_arm_meets_dense_and_every_control_the_arm_that_it_controls() -> None:
    arms = ("dense", "issp", "lotus", "random_patches", "random_mask", "magnitude")
    planned = contrasts(found(*(trial(arm, seed) for arm in arms for seed in (0, 1))))
    named = [(c.family, c.a.arm, c.b.arm) for c in planned]
    assert named == [
        *(("against_dense", arm, "dense") for arm in arms[1:]),
        ("against_controls", "lotus", "random_patches"),
        ("against_controls", "lotus", "random_mask"),
        ("against_controls", "lotus", "magnitude"),
        ("after_pruning", "lotus", "magnitude"),
        ("after_pruning", "lotus", "random_mask"),
        ("after_pruning", "magnitude", "random_mask"),
    ]


def test_a_control_is_compared_where_only_what_it_replaces_differs() -> None:
    best = trial("lotus", patch_drop=0.5, **{"final/val_accuracy": 0.99})
    same = trial("lotus", patch_drop=0.1)
    control = trial("random_patches", patch_drop=0.1)
    (pair,) = contrasts(found(best, same, control))
    assert (pair.a.axes["patch_drop"], pair.b.axes["patch_drop"]) == (0.1, 0.1)


@pytest.mark.parametrize(
    "control",
    [
        trial("random_patches", patch_drop=0.3),
        trial("magnitude", patch_drop=0.3, **{"final/sparsity": 0.5}),
        trial("magnitude", **{"final/sparsity": 0.5}),
        trial("magnitude", seed=1),
    ],
    ids=["patches", "patches and sparsity", "sparsity", "seeds"],
)
def test_settings_that_differ_in_more_are_not_compared(control: dict[str, Any]) -> None:
    assert contrasts(found(trial("lotus"), control)) == []


def test_without_lotus_the_fullest_arm_of_equal_patches_and_sparsity_is_compared() -> None:
    ticketed, whole = trial("magnitude"), trial("magnitude", patch_drop=0.0)
    families = [c.family for c in contrasts(found(trial("issp"), ticketed))]
    assert families == ["after_pruning"], "issp keeps all patches, this control does not"
    planned = contrasts(found(trial("issp"), ticketed, whole))
    assert [(c.family, c.b.axes["patch_drop"]) for c in planned] == [
        ("against_controls", 0.0),
        ("after_pruning", 0.0),
    ]


def test_patches_of_random_choice_but_none_dropped_are_no_control() -> None:
    trials = [trial(arm, patch_drop=0.0) for arm in ("lotus", "random_patches")]
    assert contrasts(found(*trials)) == []


def test_only_the_trials_that_are_compared_are_read_and_few_seeds_of_them() -> None:
    many = [trial("lotus", seed, patch_drop=q) for seed in range(50) for q in (0.1, 0.2, 0.3)]
    dense = [trial("dense", seed) for seed in range(50)]
    needed = needed_trials(contrasts(found(*many, *dense)))
    assert len(needed) == len(set(needed)) == 2 * MOST_SEEDS
    assert not [key for key in needed if "0.2" in key or "0.3]" in key]


# --- exact small cases ----------------------------------------------------------------


def test_a_comparison_counts_image_by_image_and_seed_by_seed() -> None:
    trials = [trial(arm, seed) for arm in ("lotus", "dense") for seed in (0, 1)]
    outcomes = {
        trials[0]["key"]: {"deployed.test": bits(80, 100)},
        trials[1]["key"]: {"deployed.test": bits(70, 100)},
        trials[2]["key"]: {"deployed.test": bits(80, 100, first=10)},  # 10 lost, 10 gained
        trials[3]["key"]: {"deployed.test": bits(66, 100)},  # 4 images fewer
    }
    (c,) = compared(trials, outcomes)
    assert (c.a, c.b, c.split, c.n, c.n_images) == ("lotus", "dense", "test", 2, 100)
    assert c.mean == pytest.approx(0.02)
    # 20 images differ for the first seed and 4 for the second, by half a point of the mean each.
    variance = (24 * 0.25 + 1 - 2**2 / 102) / 102**2
    half = float(stats.norm.ppf(0.975)) * math.sqrt(variance)
    assert (c.models_low, c.models_high) == pytest.approx((0.02 - half, 0.02 + half))
    assert (c.models_corrected_low, c.models_corrected_high) == (c.models_low, c.models_high)
    assert (c.scope, c.seeds_low, c.seeds_corrected_low) == ("these models", None, None)
    assert (c.verdict, c.verdict_models) == ("undecided", "undecided")
    assert (c.would_decide or "").endswith("would decide")
    by_counts = paired_drop([10, 4], [10, 0], 100, seeds=False)
    assert c.models_low is not None
    assert by_counts.low is not None
    assert c.models_low > by_counts.low, "seeds that err on different images say more"


def test_swapping_two_arms_changes_the_sign_and_nothing_else() -> None:
    trials = [trial(arm, seed) for arm in ("lotus", "dense") for seed in (0, 1, 2)]
    rng = np.random.default_rng(0)
    outcomes = {t["key"]: {"deployed.test": rng.random(400) < 0.9} for t in trials}
    (there,) = compared(trials, outcomes)
    keys = [t["key"] for t in trials]
    swapped = {a: outcomes[b] for a, b in zip(keys, keys[3:] + keys[:3], strict=True)}
    (back,) = compared(trials, swapped)
    assert there.scope == back.scope == "other seeds"
    assert back.mean == pytest.approx(-there.mean, abs=1e-15)
    for kind in ("models", "models_corrected", "seeds", "seeds_corrected"):
        low, high = (getattr(there, f"{kind}_{end}") for end in ("low", "high"))
        assert getattr(back, f"{kind}_low") == pytest.approx(-high, abs=1e-15)
        assert getattr(back, f"{kind}_high") == pytest.approx(-low, abs=1e-15)


def test_the_correction_is_bonferronis_over_the_comparisons_of_a_family() -> None:
    trials = [trial(a, s) for a in ("dense", "lotus", "issp", "tickets") for s in (0, 1, 2)]
    outcomes = all_outcomes(trials)
    for t in trials[3:6]:
        outcomes[t["key"]]["deployed.test"] = bits(30, 50)
    points = found(*measured(trials, outcomes))
    result = compare_arms(contrasts(points), outcomes, Spreads(points), 0.9)
    lotus = next(c for c in result if c.a == "lotus")
    contrast = next(c for c in contrasts(points) if c.a.arm == "lotus")
    expected = Spreads(points).difference(contrast, contrast.pairs(outcomes))
    assert expected is not None
    assert lotus.family_size == 3
    for kind, scope in (("models", THESE_MODELS), ("seeds", OTHER_SEEDS)):
        low, high = (getattr(lotus, f"{kind}_{end}") for end in ("low", "high"))
        all_low, all_high = (getattr(lotus, f"{kind}_corrected_{end}") for end in ("low", "high"))
        corrected = expected.interval(scope, 1 - 0.1 / 3)
        assert (all_low, all_high) == (corrected.low, corrected.high)
        assert all_low < low < lotus.mean < high < all_high
    assert (lotus.corrected.low, lotus.corrected.high) == (all_low, all_high)
    assert lotus.verdict == "worse"


def test_a_difference_that_holds_alone_but_not_corrected_is_undecided() -> None:
    trials = [trial(arm) for arm in ("dense", "lotus", "issp", "tickets")]
    outcomes = all_outcomes(trials, 1000)
    outcomes[trials[1]["key"]]["deployed.test"] = bits(46, 1000)
    c = next(c for c in compared(trials, outcomes) if c.a == "lotus")
    assert c.models_low is not None
    assert c.models_corrected_low is not None
    assert c.models_low > 0
    assert c.models_corrected_low < 0
    assert c.verdict == "undecided"


def test_models_that_agree_on_many_images_are_equal_within_the_margin() -> None:
    trials = [trial(arm, seed) for arm in ("lotus", "dense") for seed in (0, 1, 2)]
    (c,) = compared(trials, all_outcomes(trials, 1000))
    assert (c.mean, c.verdict, c.scope, c.would_decide) == (0, "equal", "other seeds", None)
    assert c.equal_within is not None
    assert 0 < c.equal_within <= c.margin == 0.01


def test_two_trials_of_one_seed_weigh_as_one_seed() -> None:
    twice = [trial("lotus"), trial("lotus") | {"key": "again"}]
    dense = trial("dense")
    outcomes = {
        twice[0]["key"]: {"deployed.test": bits(60, 100)},
        "again": {"deployed.test": bits(80, 100)},
        dense["key"]: {"deployed.test": bits(80, 100)},
    }
    (c,) = compared([*twice, dense], outcomes)
    half = float(stats.norm.ppf(0.975)) * math.sqrt((20 * 0.25 + 1 - 10**2 / 102) / 102**2)
    assert (c.n, c.mean, c.models_low) == (1, pytest.approx(-0.1), pytest.approx(-0.1 - half))


def test_without_outcomes_of_the_same_images_counts_serve_and_are_rather_too_wide() -> None:
    counts = {"final/deployed_test_lost": 20, "final/deployed_test_gained": 5}
    dense = {"dense/test_accuracy": 0.9, "dense/test_n": 1000}
    ours = trial("lotus", **{"final/deployed_test_accuracy": 0.885}, **counts, **dense)
    theirs = trial("dense", **dense) | {
        "final/deployed_test_lost": 3, "final/deployed_test_gained": 3,
    }  # fmt: skip
    points = found(ours, theirs)
    planned, spreads = contrasts(points), Spreads(points)
    sizes = zip((ours, theirs), (50, 60), strict=True)
    other = {t["key"]: {"deployed.test": bits(9, n)} for t, n in sizes}
    (none,) = compare_arms(planned, {}, spreads)
    assert [none] == compare_arms(planned, {ours["key"]: {}}, spreads)
    assert [none] == compare_arms(planned, other, spreads)
    assert none.mean == pytest.approx(-0.015)
    widest = paired_drop([20 + 3], [5 + 3], 1000)  # of no image both right, of none both wrong
    assert (none.models_low, none.models_high) == pytest.approx((-widest.high, -widest.low))  # type: ignore[operator]


def test_what_was_not_measured_is_not_compared() -> None:
    bare = {"final/deployed_test_accuracy": None}
    points = found(trial("lotus", **bare), trial("dense"))
    assert len(contrasts(points)) == 1
    assert compare_arms(contrasts(points), {}, Spreads(points)) == []


# --- in the summary -------------------------------------------------------------------


def summary(trials: Sequence[dict[str, Any]], outcomes: Any) -> dict[str, Any]:
    return summarise(
        pd.DataFrame(trials), sweep="s", planned=len(trials), device="cpu", device_hours=0.0,
        device_hours_saved=0.0, wall_s=None, outcomes=outcomes,
    )  # fmt: skip


def test_the_summary_carries_comparisons_and_warns_by_them() -> None:
    trials = [trial(a, s) for a in ("lotus", "magnitude", "random_mask") for s in (0, 1, 2)]
    outcomes = all_outcomes(trials, 1000)
    for t in trials[6:]:
        outcomes[t["key"]]["deployed.test"] = bits(0, 1000)
    for t in trials[:6]:
        outcomes[t["key"]]["deployed.test"] = bits(900, 1000)
    out = summary(measured(trials, outcomes), outcomes)
    said = {(c["family"], c["b"]): c["verdict"] for c in out["comparisons"]}
    assert said[("against_controls", "random_mask")] == "better"
    assert said[("against_controls", "magnitude")] == "equal"
    control = [w for w in out["warnings"] if "paired by image" in w]
    assert len(control) == 1
    assert "LOTUS is equal within 0.3 points to its control, one-shot magnitude" in control[0]
    assert "n = 3, other seeds, corrected for 2 comparisons" in control[0]
    assert "does not show that denoising the mask helps" in control[0]


def test_a_control_that_wins_is_said_to_do_better() -> None:
    trials = [trial(a, s) for a in ("lotus", "magnitude") for s in (0, 1, 2)]
    outcomes = all_outcomes(trials, 1000)
    for t in trials[3:]:
        outcomes[t["key"]]["deployed.test"] = bits(900, 1000)
    found = summary(measured(trials, outcomes), outcomes)["warnings"]
    (said,) = [w for w in found if "paired by image" in w]
    assert "LOTUS does worse than its control, one-shot magnitude" in said
    assert "n = 3, other seeds)" in said, "one comparison is not corrected"


def test_without_outcomes_and_counts_two_seeds_leave_a_control_undecided() -> None:
    trials = [trial(a, s) for a in ("lotus", "magnitude") for s in (0, 1)]
    out = summary(trials, None)
    (c,) = [c for c in out["comparisons"] if c["family"] == "against_controls"]
    limits = [v for name, v in c.items() if name.endswith(("_low", "_high"))]
    assert (c["verdict"], limits) == ("undecided", [None] * 8)
    (said,) = [w for w in out["warnings"] if "its control, one-shot magnitude" in w]
    assert "cannot be told apart" in said
    assert "no interval: too few images or seeds to say" in said


def test_epochs_to_near_dense_are_over_the_seeds_that_got_there() -> None:
    def arm(*near: float | None) -> dict[str, Any]:
        trials = [
            trial("lotus", s, **{"final/epochs_to_near_dense": e, "finetune.epochs": "20"})
            for s, e in enumerate(near)
        ]
        (only,) = summary(trials, None)["arms"]
        return dict(only)

    two = arm(2.0, None, 5.0)
    assert (two["n"], two["near_dense_reached"], two["epochs_to_near_dense"]) == (3, 2, 3.5)
    assert (two["epochs_lowest"], two["epochs_highest"]) == (2.0, 5.0)
    assert (two["epochs_ci_low"], two["epochs_ci_high"]) == (None, None), "two say little of others"
    three = arm(2.0, 5.0, None, 5.0)
    half = float(stats.t.ppf(0.975, 2)) * float(np.std([2, 5, 5], ddof=1)) / 3**0.5
    assert three["epochs_ci_low"] == 0, "never below nothing"
    assert three["epochs_ci_high"] == pytest.approx(4 + half)
    apart = arm(1.0, 8.0, 15.0)
    assert (apart["epochs_ci_low"], apart["epochs_ci_high"]) == (None, None), "wider than half"
    never = arm(None, None)
    assert (never["near_dense_reached"], never["epochs_to_near_dense"]) == (0, None)
