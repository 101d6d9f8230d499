"""The setting to use: chosen on validation, judged once on test."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection import select, wanted_trials
from orchestrator.selection.choice import Choice, choose
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.recommendation import Recommended, median_trial, recommend
from orchestrator.selection.settings import group_settings
from orchestrator.selection.wording import in_words

N = 10_000
DENSE = 0.9


def trial(arm: str = "lotus", seed: int = 0, loss: float = 0.0, **values: Any) -> dict[str, Any]:
    """A finished trial that loses so much of its images, and gains none."""
    test = values.pop("test_loss", loss)
    row: dict[str, Any] = {
        "arm": arm, "seed": seed, "status": "FINISHED", "sparsity": 0.3, "patch_drop": 0.1,
        "mask_data_fraction": 0.1, "dense/val_accuracy": DENSE, "dense/test_accuracy": DENSE,
        "dense/val_n": N, "dense/test_n": N, "final/val_accuracy": 0.95,
        "final/test_accuracy": 0.94, "final/macs": 80.0, "final/macs_selector": 10.0,
        "final/macs_deployed": 90.0, "final/macs_dense": 100.0, "final/macs_training": 40.0,
        "final/sparsity": 0.5, "final/sparsity_model": 0.45,
        "essential/val_accuracy": DENSE,
    }  # fmt: skip
    for split, own in (("val", loss), ("test", test)):
        row |= {
            f"final/deployed_{split}_accuracy": DENSE - own,
            f"final/deployed_{split}_lost": max(0, round(own * N)),
            f"final/deployed_{split}_gained": max(0, round(-own * N)),
        }
    if arm == "dense":
        row |= {"sparsity": None, "patch_drop": None, "mask_data_fraction": None}
        row |= {"final/macs_training": 100.0}
    row |= values
    place = (row["sparsity"], row["patch_drop"], row["mask_data_fraction"])
    return {"key": f"{arm}-{seed}-{place}", "name": f"{arm}-{seed}"} | row


def three(arm: str = "lotus", loss: float = 0.0, **values: Any) -> list[dict[str, Any]]:
    """The same of three seeds that hardly differ."""
    return [trial(arm, s, loss + 0.0002 * (s - 1), **values) for s in range(3)]


def dense() -> list[dict[str, Any]]:
    return three("dense")


def choice(*rows: dict[str, Any], tolerance: float = 0.01) -> Choice:
    found = group_settings(pd.DataFrame(rows))
    chosen = choose(found, Spreads(found), tolerance)
    assert chosen is not None
    return chosen


def recommended(*rows: dict[str, Any], tolerance: float = 0.01, **options: Any) -> Recommended:
    found = group_settings(pd.DataFrame(rows))
    chosen = recommend(found, Spreads(found), tolerance=tolerance, **options)
    assert chosen is not None
    return chosen


def cheap(macs: float) -> dict[str, float]:
    return {"final/macs_deployed": macs}


# --- which one ------------------------------------------------------------------------


def test_the_cheapest_of_those_shown_on_validation_wins_over_a_cheaper_one_within() -> None:
    shown = three(loss=0.002, sparsity=0.1)
    dearer = three(loss=0.0, sparsity=0.2, **cheap(95.0))
    within = three(loss=0.0099, sparsity=0.4, **cheap(50.0))
    found = choice(*dense(), *within, *dearer, *shown)
    assert (found.chosen, found.setting.axes["sparsity"]) == ("shown on validation", 0.1)
    assert found.reason.startswith("2 of 3 settings")


def test_where_none_is_shown_the_cheapest_within_by_its_mean_wins() -> None:
    better = three(loss=0.0095, sparsity=0.1)
    cheaper = three(loss=0.0099, sparsity=0.2, **cheap(50.0))
    beyond = three(loss=0.02, sparsity=0.4, **cheap(10.0))
    found = choice(*dense(), *better, *cheaper, *beyond)
    assert (found.chosen, found.setting.axes["sparsity"]) == ("within on validation", 0.2)


def test_where_none_is_within_the_best_on_validation_wins() -> None:
    best = three(loss=0.02, sparsity=0.1)
    cheaper = three(loss=0.03, sparsity=0.2, **cheap(10.0))
    found = choice(*dense(), *cheaper, *best)
    assert (found.chosen, found.setting.axes["sparsity"]) == ("best on validation", 0.1)


def test_of_equal_cost_the_sparser_then_the_better_wins() -> None:
    denser, sparser = three(sparsity=0.1), three(sparsity=0.2, **{"final/sparsity": 0.7})
    assert choice(*dense(), *denser, *sparser).setting.axes["sparsity"] == 0.2
    worse, better = three(loss=0.001, sparsity=0.1), three(sparsity=0.2)
    assert choice(*dense(), *worse, *better).setting.axes["sparsity"] == 0.2


def test_too_few_images_to_show_anything_leave_a_candidate() -> None:
    few = {"dense/val_n": 50, "final/deployed_val_lost": 0, "final/deployed_val_gained": 0}
    rows = [trial("dense", **few), trial(**few)]
    assert choice(*rows).chosen == "within on validation"


def test_what_was_not_measured_as_deployed_is_no_candidate() -> None:
    unmeasured = {"final/deployed_val_accuracy": None, "final/deployed_test_accuracy": None}
    old = three(sparsity=0.1, **unmeasured, **cheap(10.0))
    assert choice(*dense(), *old, *three()).setting.axes["sparsity"] == 0.3
    without_macs = three(sparsity=0.1, **{"final/macs_deployed": None})
    assert choice(*dense(), *without_macs, *three()).setting.axes["sparsity"] == 0.3
    found = group_settings(pd.DataFrame([*dense(), *old]))
    assert choose(found, Spreads(found)) is None


def test_the_reference_is_the_dense_arm_of_equal_fine_tuning() -> None:
    axis = "finetune.epochs"
    rows = [
        *three(loss=0.004, **{axis: 5}), *three("dense", loss=-0.02, **{axis: 9}),
        *three("dense", loss=0.001, **{axis: 5}),
    ]  # fmt: skip
    found = group_settings(pd.DataFrame(rows), [axis])
    best = recommend(found, Spreads(found))
    assert best is not None
    assert best.reference == "fine_tuned"
    assert best.dense_test_accuracy == pytest.approx(DENSE - 0.001)
    assert best.difference == pytest.approx(-0.003)


# --- what the test images say ---------------------------------------------------------


@pytest.mark.parametrize(
    ("test_loss", "verdict"), [(0.002, "shown"), (0.01, "not shown"), (0.03, "exceeded")]
)
def test_the_verdict_is_read_from_the_interval_on_test(test_loss: float, verdict: str) -> None:
    best = recommended(*dense(), *three(test_loss=test_loss))
    assert (best.verdict, best.within_tolerance) == (verdict, verdict == "shown")
    assert best.scope == "other seeds"
    assert best.seeds_low is not None
    assert best.seeds_high is not None
    assert best.seeds_low < -test_loss < best.seeds_high
    expected = {
        "shown": best.seeds_low >= -0.01,
        "exceeded": best.seeds_high < -0.01,
        "not shown": best.seeds_low < -0.01 <= best.seeds_high,
    }
    assert expected[verdict]
    assert (best.would_show is None) == (verdict != "not shown")
    words = {
        "shown": "Shown to be within 1 point", "exceeded": "Shown to lose more than 1 point",
        "not shown": "Not shown to be within 1 point",
    }  # fmt: skip
    assert words[verdict] in in_words(best)


def test_fewer_than_three_seeds_are_judged_as_these_models_and_say_so() -> None:
    rows = [r for r in [*dense(), *three(test_loss=0.001)] if r["seed"] < 2]
    best = recommended(*rows)
    assert (best.scope, best.verdict, best.n) == ("these models", "shown", 2)
    assert (best.seeds_low, best.seeds_high) == (None, None)
    assert "other seeds unknown (n = 2)" in in_words(best)


def test_no_word_of_a_recommendation_hides_what_it_costs() -> None:
    best = recommended(*dense(), *three(test_loss=0.016))
    assert best.difference == pytest.approx(-0.016)
    assert "1.6 points" in in_words(best)
    assert "88.4 % against 90.0 %" in in_words(best)


def test_outcomes_change_no_choice_and_make_the_interval_exact() -> None:
    rng = np.random.default_rng(0)
    rows, outcomes = [], {}
    for seed in range(3):
        right = rng.random(N) < DENSE
        for arm, lost, gained in (("dense", 90, 60), ("lotus", 100, 60)):
            own = right.copy()
            own[np.flatnonzero(right)[:lost]] = False  # mostly the same images
            own[np.flatnonzero(~right)[:gained]] = True
            row = trial(arm, seed, loss=(lost - gained) / N)
            shares = {"dense/test_accuracy": float(right.mean())}
            shares |= {"final/deployed_test_accuracy": float(own.mean())}
            counts = {"final/deployed_test_lost": lost, "final/deployed_test_gained": gained}
            rows.append(row | shares | counts)
            outcomes[row["key"]] = {"deployed.test": own, "final.test": own}
    table = pd.DataFrame(rows)
    blind, exact = (select(table, outcomes=o).recommended for o in (None, outcomes))
    assert blind is not None
    assert exact is not None
    assert (blind.trial_key, blind.chosen) == (exact.trial_key, exact.chosen)
    assert exact.difference == pytest.approx(blind.difference) == pytest.approx(-0.001)
    assert exact.models_high - exact.models_low < blind.models_high - blind.models_low  # type: ignore[operator]
    assert set(wanted_trials(table, all_arms=False)) == set(outcomes)


def test_costs_are_ratios_to_the_dense_reference() -> None:
    best = recommended(*dense(), *three(**{"profile/images_per_s": 123.0,
                                           "profile/images_per_s_dense": 100.0}))  # fmt: skip
    assert (best.macs_ratio, best.macs_ratio_kept) == (0.9, 0.8)
    assert best.macs_training_ratio == 0.4
    assert best.images_per_s_ratio == pytest.approx(1.23)
    alone = recommended(*three())
    assert (alone.reference, alone.macs_training_ratio) == ("before_fine_tuning", None)


# --- the trial that stands for it -----------------------------------------------------


def of_seeds(*losses: float, test: tuple[float, ...] = ()) -> Any:
    rows = [
        trial(seed=s, loss=x, **({"test_loss": test[s]} if test else {}))
        for s, x in enumerate(losses)
    ]
    (found,) = group_settings(pd.DataFrame(rows))
    return median_trial(found)


def test_the_median_seed_by_validation_stands_for_the_setting_never_the_luckiest_on_test() -> None:
    assert of_seeds(0.03, 0.01, 0.02)["seed"] == 2
    assert of_seeds(0.03, 0.01, 0.02, test=(0.0, 0.01, 0.09))["seed"] == 2
    assert of_seeds(0.05)["seed"] == 0


def test_of_an_even_number_the_lower_of_the_middle_two_is_taken() -> None:
    assert of_seeds(0.04, 0.01, 0.02, 0.03)["seed"] == 3
    assert of_seeds(0.01, 0.02)["seed"] == 1


def test_equal_seeds_stand_in_the_order_of_their_numbers() -> None:
    assert of_seeds(0.01, 0.01, 0.01)["seed"] == 1
    assert of_seeds(0.01, 0.01)["seed"] == 0


def test_the_recommended_means_are_of_all_seeds_and_the_key_of_the_median_one() -> None:
    rows = [trial(seed=s, loss=x, test_loss=2 * x) for s, x in enumerate((0.003, 0.0, 0.001))]
    best = recommended(*dense(), *rows)
    assert (best.seed, best.trial_key, best.n) == (2, rows[2]["key"], 3)
    assert best.val_accuracy == pytest.approx(DENSE - 0.004 / 3)
    assert best.test_accuracy == pytest.approx(DENSE - 0.008 / 3)
    assert best.test_accuracy_whole == pytest.approx(0.94)
