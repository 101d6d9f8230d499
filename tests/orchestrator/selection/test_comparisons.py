"""Arms against each other: what is compared, exact small cases, coverage by simulation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from orchestrator.selection import comparisons, summarise
from orchestrator.selection.arms import Setting, settings
from orchestrator.selection.comparisons import compare_arms, contrasts, needed_trials, verdict
from orchestrator.selection.statistics import paired_drop

Bits = NDArray[np.bool_]


def trial(arm: str, seed: int = 0, **values: Any) -> dict[str, Any]:
    """A finished trial of an arm on the axes that it uses."""
    row = {
        "arm": arm, "seed": seed, "status": "FINISHED", "sparsity": 0.3, "patch_drop": 0.1,
        "mask_data_fraction": 0.1, "final/val_accuracy": 0.9, "final/test_accuracy": 0.9,
        "final/sparsity": 0.6, "dense/val_accuracy": 0.9, "dense/val_n": 1000,
        "essential/val_accuracy": 0.9,
    } | values  # fmt: skip
    if arm in ("dense", "magnitude", "random_mask"):
        row |= {"sparsity": None, "mask_data_fraction": None}
    if arm == "dense":
        row |= {"patch_drop": None, "final/sparsity": 0.0}
    if arm == "issp":
        row |= {"patch_drop": None}
    places = [row[name] for name in ("sparsity", "patch_drop", "mask_data_fraction")]
    return {"key": f"{arm}-{seed}-{places}", "run_id": f"{arm}-{seed}-{places}"} | row


def found(*trials: dict[str, Any]) -> list[Setting]:
    return settings(pd.DataFrame(trials))


def bits(right: int, n: int, first: int = 0) -> Bits:
    """n images of which `right`, from `first` on, are right."""
    place = np.arange(n)
    return (place >= first) & (place < first + right)


def all_outcomes(trials: Sequence[dict[str, Any]], images: int = 50) -> dict[str, dict[str, Bits]]:
    names = ("final.test", "issp.validation", "control.validation")
    return {t["key"]: {name: bits(40, images) for name in names} for t in trials}


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
    assert len(needed) == len(set(needed)) == 2 * comparisons.MOST_SEEDS
    assert not [key for key in needed if "0.2" in key or "0.3]" in key]


# --- exact small cases ----------------------------------------------------------------


def test_a_comparison_counts_image_by_image_and_seed_by_seed() -> None:
    trials = [trial(arm, seed) for arm in ("lotus", "dense") for seed in (0, 1)]
    outcomes = {
        trials[0]["key"]: {"final.test": bits(80, 100)},
        trials[1]["key"]: {"final.test": bits(70, 100)},
        trials[2]["key"]: {"final.test": bits(80, 100, first=10)},  # 10 lost, 10 gained
        trials[3]["key"]: {"final.test": bits(66, 100)},  # 4 images fewer
    }
    (c,) = compare_arms(contrasts(found(*trials)), outcomes)
    expected = paired_drop([10, 4], [10, 0], 100)
    assert (c.a, c.b, c.split, c.n, c.n_images) == ("lotus", "dense", "test", 2, 100)
    assert (c.mean, c.ci_low, c.ci_high) == (pytest.approx(0.02), expected.low, expected.high)
    assert (c.corrected_low, c.corrected_high) == (c.ci_low, c.ci_high), "a family of one"
    assert c.verdict == "not told apart"


def test_swapping_two_arms_changes_the_sign_and_nothing_else() -> None:
    trials = [trial(arm, seed) for arm in ("lotus", "dense") for seed in (0, 1, 2)]
    rng = np.random.default_rng(0)
    outcomes = {t["key"]: {"final.test": rng.random(400) < 0.9} for t in trials}
    (there,) = compare_arms(contrasts(found(*trials)), outcomes)
    keys = [t["key"] for t in trials]
    swapped = {a: outcomes[b] for a, b in zip(keys, keys[3:] + keys[:3], strict=True)}
    (back,) = compare_arms(contrasts(found(*trials)), swapped)
    assert back.mean == -there.mean
    assert back.ci_low == pytest.approx(-there.ci_high, abs=1e-15)
    assert back.corrected_high == pytest.approx(-there.corrected_low, abs=1e-15)


def test_the_correction_is_bonferronis_over_the_comparisons_of_a_family() -> None:
    trials = [trial(a, s) for a in ("dense", "lotus", "issp", "tickets") for s in (0, 1, 2)]
    outcomes = all_outcomes(trials)
    for t in trials[3:6]:
        outcomes[t["key"]]["final.test"] = bits(30, 50)
    result = compare_arms(contrasts(found(*trials)), outcomes, 0.9)
    lotus = next(c for c in result if c.a == "lotus")
    expected = paired_drop([0, 0, 0], [10, 10, 10], 50, 1 - 0.1 / 3)
    assert lotus.family_size == 3
    assert (lotus.corrected_low, lotus.corrected_high) == (expected.low, expected.high)
    assert lotus.corrected_low < lotus.ci_low < lotus.mean < lotus.ci_high < lotus.corrected_high
    assert lotus.verdict == "worse"


def test_a_difference_that_holds_alone_but_not_corrected_is_not_told_apart() -> None:
    trials = [trial(arm) for arm in ("dense", "lotus", "issp", "tickets")]
    outcomes = all_outcomes(trials, 1000)
    outcomes[trials[1]["key"]]["final.test"] = bits(46, 1000)
    c = next(c for c in compare_arms(contrasts(found(*trials)), outcomes) if c.a == "lotus")
    assert c.ci_low > 0
    assert c.corrected_low < 0
    assert c.verdict == "not told apart"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.1, "better"),
        (-0.1, -0.001, "worse"),
        (0.0, 0.1, "not told apart"),
        (-0.1, 0.0, "not told apart"),
    ],
)
def test_a_verdict_needs_limits_on_one_side_of_zero(low: float, high: float, said: str) -> None:
    assert verdict(low, high) == said


def test_two_trials_of_one_seed_weigh_as_one_seed() -> None:
    twice = [trial("lotus"), trial("lotus") | {"key": "again"}]
    dense = trial("dense")
    outcomes = {
        twice[0]["key"]: {"final.test": bits(60, 100)},
        "again": {"final.test": bits(80, 100)},
        dense["key"]: {"final.test": bits(80, 100)},
    }
    (c,) = compare_arms(contrasts(found(*twice, dense)), outcomes)
    expected = paired_drop([0], [10], 100)
    assert (c.n, c.mean, c.ci_low) == (1, pytest.approx(-0.1), expected.low)


def test_outcomes_that_are_absent_or_of_other_images_give_no_comparison() -> None:
    trials = [trial("lotus"), trial("dense")]
    planned = contrasts(found(*trials))
    assert compare_arms(planned, {}) == []
    assert compare_arms(planned, {t["key"]: {} for t in trials}) == []
    sizes = zip(trials, (50, 60), strict=True)
    assert compare_arms(planned, {t["key"]: {"final.test": bits(9, n)} for t, n in sizes}) == []


# --- coverage -------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.01), (5, 0.01)])
def test_all_corrected_intervals_of_a_family_hold_together_as_often_as_they_say(
    seeds: int, spread: float
) -> None:
    """No arm differs from dense but by the luck of its images and of its seeds."""
    arms, images, repeats = 7, 1000, 400
    rng = np.random.default_rng([seeds, int(1000 * spread)])
    trials = [
        trial(arm, seed)
        for arm in ("dense", *comparisons.FULLEST, "random_mask", "magnitude", "random_patches")
        for seed in range(seeds)
    ]
    planned = [c for c in contrasts(found(*trials)) if c.family == "against_dense"]
    assert len(planned) == arms
    together = alone = 0
    for _ in range(repeats):
        easy = rng.random(images)  # images differ in how hard they are, for every model alike
        share = np.clip(0.9 + rng.normal(0, spread, len(trials)), 0, 1)
        right = easy * 0.7 + rng.random((len(trials), images)) * 0.3 < share[:, None]
        outcomes = {t["key"]: {"final.test": r} for t, r in zip(trials, right, strict=True)}
        result = compare_arms(planned, outcomes)
        together += all(c.corrected_low <= 0 <= c.corrected_high for c in result)
        alone += all(c.ci_low <= 0 <= c.ci_high for c in result)
    assert together / repeats >= 0.94
    assert together > alone, "uncorrected limits must do worse, or the test shows nothing"


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
        outcomes[t["key"]]["final.test"] = bits(0, 1000)
    for t in trials[:6]:
        outcomes[t["key"]]["final.test"] = bits(900, 1000)
    out = summary(trials, outcomes)
    said = {(c["family"], c["b"]): c["verdict"] for c in out["comparisons"]}
    assert said[("against_controls", "random_mask")] == "better"
    assert said[("against_controls", "magnitude")] == "not told apart"
    control = [w for w in out["warnings"] if "paired by image" in w]
    assert len(control) == 1
    assert "`magnitude` cannot be told apart" in control[0]
    assert "n = 3, corrected for 2 comparisons" in control[0]


def test_a_control_that_wins_is_said_to_differ_the_wrong_way() -> None:
    trials = [trial(a, s) for a in ("lotus", "magnitude") for s in (0, 1, 2)]
    outcomes = all_outcomes(trials, 1000)
    for t in trials[3:]:
        outcomes[t["key"]]["final.test"] = bits(900, 1000)
    (said,) = [w for w in summary(trials, outcomes)["warnings"] if "paired by image" in w]
    assert "differ the wrong way" in said


def test_without_outcomes_controls_are_judged_by_their_accuracies() -> None:
    trials = [trial(a, s) for a in ("lotus", "magnitude") for s in (0, 1, 2)]
    out = summary(trials, None)
    assert out["comparisons"] == []
    assert any("by accuracies alone" in w for w in out["warnings"])


def test_epochs_to_near_dense_are_over_the_seeds_that_got_there() -> None:
    near = [2.0, None, 5.0]
    trials = [trial("lotus", s, **{"final/epochs_to_near_dense": e}) for s, e in enumerate(near)]
    (arm,) = summary(trials, None)["arms"]
    assert (arm["n"], arm["near_dense_reached"], arm["epochs_to_near_dense"]) == (3, 2, 3.5)
    assert (arm["epochs_lowest"], arm["epochs_highest"]) == (2.0, 5.0)
    half = 12.7062047 * np.std([2, 5], ddof=1) / 2**0.5
    assert arm["epochs_ci_high"] == pytest.approx(3.5 + half)
    never = [trial("lotus", s, **{"final/epochs_to_near_dense": None}) for s in (0, 1)]
    (arm,) = summary(never, None)["arms"]
    assert (arm["near_dense_reached"], arm["epochs_to_near_dense"]) == (0, None)
