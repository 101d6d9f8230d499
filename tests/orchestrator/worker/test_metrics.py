"""The metrics of stages and trials, against the results that they are made of."""

from typing import Any

import pytest

from orchestrator.search import OBJECTIVES
from orchestrator.worker import metrics
from trials.context import Epoch
from trials.sparsity import masks
from trials.stages.recovered import Recovered
from trials.stages.round_train import RoundTrained
from trials.stages.soup_train import SoupTrained


def test_a_learning_curve_has_three_numbers_an_epoch() -> None:
    assert metrics.epoch_metrics(Epoch(1.0, 2.0, 0.5, 9.0)) == {
        "finetune/train_loss": 1.0, "finetune/val_loss": 2.0, "finetune/val_accuracy": 0.5,
    }  # fmt: skip


def test_paired_counts_are_those_of_the_images(results_of: dict[str, Any]) -> None:
    dense, one_shot = results_of["dense"], results_of["essential"]
    found = metrics.stage_metrics("essential", one_shot, dense)
    before, after = dense.validation.correct, one_shot.validation.correct
    pairs = list(zip(before.tolist(), after.tolist(), strict=True))
    assert found["essential/val_lost"] == pairs.count((True, False))
    assert found["essential/val_gained"] == pairs.count((False, True))
    lost = found["essential/val_accuracy"] - dense.validation.accuracy  # type: ignore[operator]
    assert round(lost * 40) == pairs.count((False, True)) - pairs.count((True, False))


def test_a_recovered_level_is_paired_with_level_zero(results_of: dict[str, Any]) -> None:
    dense, one_shot = results_of["dense"], results_of["essential"]
    zero = results_of["finetune"].validation
    level = Recovered(one_shot.keep, one_shot.validation, zero)
    found = metrics.stage_metrics("essential", level, dense)
    assert found["essential/reference_val_accuracy"] == zero.accuracy
    lost, gained = found["essential/val_lost"], found["essential/val_gained"]
    assert lost == int((zero.correct & ~one_shot.validation.correct).sum())
    assert gained == int((~zero.correct & one_shot.validation.correct).sum())
    alone = Recovered(one_shot.keep, one_shot.validation, None)
    plain = metrics.stage_metrics("essential", one_shot, dense)
    assert metrics.stage_metrics("essential", alone, dense) == plain
    assert "essential/reference_val_accuracy" not in plain


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("reading", ["final", "deployed"])
def test_pairs_tell_the_difference_to_the_dense_model_to_the_image(
    results_of: dict[str, Any], reading: str, split: str
) -> None:
    dense, final = results_of["dense"], results_of["final"]
    found: dict[str, Any] = metrics.stage_metrics("final", final, dense)
    short = {"validation": "val", "test": "test"}[split]
    name = f"final/{'deployed_' * (reading == 'deployed')}{short}"
    count = found[f"final/{short}_n"]
    before = getattr(dense, split)
    assert count == len(before.correct)
    assert found[f"{name}_accuracy"] * count == pytest.approx(
        before.accuracy * count - found[f"{name}_lost"] + found[f"{name}_gained"], abs=1e-9
    )
    assert 0 <= found[f"{name}_lost"] <= before.correct.sum()
    assert 0 <= found[f"{name}_gained"] <= count - before.correct.sum()


def test_what_is_deployed_costs_its_own_pass_and_that_of_what_chooses_its_patches(
    results_of: dict[str, Any],
) -> None:
    found: dict[str, Any] = metrics.stage_metrics("final", results_of["final"], None)
    assert found["final/macs_selector"] == found["final/macs_dense"] > found["final/macs"] > 0
    assert found["final/macs_deployed"] == found["final/macs"] + found["final/macs_selector"]
    assert found["final/macs_training"] > 100 * found["final/macs_deployed"]
    assert found["final/deployed_test_accuracy"] == found["final/test_accuracy_ticket"]
    without = metrics.stage_metrics("final", results_of["final"], None)
    assert not [name for name in without if name.endswith(("_lost", "_gained"))]


def test_what_a_search_improves_is_on_every_full_trial(results_of: dict[str, Any]) -> None:
    found = metrics.stage_metrics("final", results_of["final"], results_of["dense"])
    objectives = {name: found[metric] for name, (metric, _) in OBJECTIVES.items()}
    final = results_of["final"]
    assert objectives == {
        "accuracy": final.deployed_validation.accuracy,
        "macs": final.macs + final.macs_selector,
        "sparsity": final.sparsity,
    }


def test_the_candidates_tell_what_both_polarities_of_the_union_would_give(
    results_of: dict[str, Any],
) -> None:
    found = metrics.stage_metrics("denoise", results_of["denoise"], None)
    keeps = results_of["denoise"].keeps
    assert found["denoise/sparsity_union_kept"] == masks.sparsity(masks.union(keeps))
    assert found["denoise/sparsity_intersect_kept"] == masks.sparsity(masks.intersection(keeps))
    nominal = masks.sparsity(keeps[0])
    low, high = found["denoise/sparsity_union_kept"], found["denoise/sparsity_intersect_kept"]
    assert low is not None
    assert high is not None
    assert low < nominal < high


def test_the_training_between_rounds_is_on_the_record(results_of: dict[str, Any]) -> None:
    issp, dense = results_of["issp"], results_of["dense"]
    rounds = RoundTrained(issp.checkpoint, {}, 9, 0.25)
    assert metrics.stage_metrics("round_train", rounds, dense) == {
        "round_train/steps": 9, "round_train/train_loss": 0.25,
    }  # fmt: skip
    trained = SoupTrained(issp.checkpoint, issp.validation, 7, 0.5)
    found = metrics.stage_metrics("soup_train", trained, dense)
    before = metrics.stage_metrics("issp", issp, dense)
    assert (found.pop("soup_train/steps"), found.pop("soup_train/train_loss")) == (7, 0.5)
    before.pop("issp/sparsity")
    assert list(found.values()) == list(before.values())
    assert len(found) == 3
