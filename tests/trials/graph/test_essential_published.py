"""Essential Sparsity as published: every level recovered from the pretrained weights."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.trials.helpers import same
from trials import run_trial
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.graph.effort import passes_of
from trials.graph.execute import TrialResult
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Sources
from trials.sparsity import masks
from trials.sparsity.detect import first_violation
from trials.stage import Node, Source, closure
from trials.stages.recovered import Recovered

COUNTS = Counts(train=1000, validation=200, test=500, classes=10, channels=1)
ES = {"preset": "es_published"}
RECIPE = {"epochs": 2, "lr": 3e-3, "batch_size": 32, "weights": "pretrained"}
Make = Callable[..., TrialConfig]


@pytest.fixture(scope="module")
def trial(tiny_trial: Make) -> Make:
    def make(arm: str = "essential", **changes: Any) -> TrialConfig:
        essential = ES | changes.pop("essential", {})
        return tiny_trial(arm=arm, finetune=RECIPE, essential=essential, **changes)

    return make


@pytest.fixture(scope="module")
def ran(trial: Make) -> Callable[..., TrialResult]:
    """A trial that has run, each once."""
    found: dict[str, TrialResult] = {}

    def run(**changes: Any) -> TrialResult:
        name = repr(sorted(changes.items()))
        if name not in found:
            found[name] = run_trial(trial(**changes))
        return found[name]

    return run


def graph(trial: TrialConfig, fresh: bool = False) -> TrialGraph:
    return pipeline(trial, Sources(Source("data", "d"), Source("weights", "w"), fresh, COUNTS))


def stages(made: TrialGraph, name: str) -> list[Node[Any]]:
    return [node for node in closure(made.final) if node.stage.name == name]


def test_the_preset_is_what_the_paper_does(trial: Make) -> None:
    section = trial().resolved().essential
    assert (section.start, section.weights, section.evaluate) == (
        "pretrained", "pretrained", "after_finetune",
    )  # fmt: skip
    assert (section.reference, section.tolerance) == ("level_zero", 0.01)
    assert section.levels == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    written = trial(essential={"tolerance": 0.05}).resolved().essential
    assert (written.tolerance, written.start) == (0.05, "pretrained"), "what is written wins"
    assert trial().resolved().resolved() == trial().resolved()


def test_level_zero_is_dense_fine_tuning_bit_for_bit(ran: Callable[..., TrialResult]) -> None:
    level, dense = ran(sparsity=0.0).results, ran(arm="dense").results
    assert same(level["finetune"].checkpoint, dense["finetune"].checkpoint)
    assert same(level["essential"].validation, dense["finetune"].validation)
    assert same(level["essential"].reference, level["essential"].validation)


def test_the_arms_model_is_the_one_that_the_level_was_measured_on(trial: Make) -> None:
    made = graph(trial(sparsity=0.5))
    assert made.essential is not None
    assert made.essential.inputs["model"] is made.finetune, "trained once"
    assert len(stages(made, "finetune")) == 2, "the level's, and level 0's"
    other = graph(trial(sparsity=0.5, arm="lotus", issp={"target_sparsity": 0.7}))
    assert other.essential is not None
    assert other.essential.inputs["model"] is not other.finetune, "that one sees tickets"


@pytest.mark.parametrize("change", [{"lr": 1e-3}, {"epochs": 3}, {"weights": "current"}])
def test_it_is_not_where_recipe_or_start_differ(tiny_trial: Make, change: Any) -> None:
    """Levels follow the recipe of the file, so only another start makes another model."""
    made = graph(tiny_trial(arm="essential", essential=ES, finetune=RECIPE | change))
    assert made.essential is not None
    shared = made.essential.inputs["model"] is made.finetune
    assert shared == ("weights" not in change)


def test_the_result_is_compared_with_level_zero(ran: Callable[..., TrialResult]) -> None:
    zero, half = ran(sparsity=0.0).results, ran(sparsity=0.5).results
    found = half["essential"]
    assert isinstance(found, Recovered)
    assert same(found.reference, zero["essential"].validation)
    assert same(found.validation, half["finetune"].validation)
    assert masks.sparsity(found.keep) == pytest.approx(0.5, abs=1e-3)


def test_masks_nest_and_do_not_depend_on_seed_or_data(trial: Make) -> None:
    def mask(fresh: bool = False, **changes: Any) -> Node[Any]:
        made = graph(trial(**changes), fresh)
        assert made.essential is not None
        node = made.essential.inputs["mask"]
        assert isinstance(node, Node)
        return node

    assert mask(sparsity=0.5).inputs["scored"].stage.name == "pretrained"
    one, other = mask(sparsity=0.5), mask(sparsity=0.5, seed=1)
    assert one.seed is other.seed is None, "one stage for all seeds"
    assert one.config == other.config
    assert mask(True, sparsity=0.5, seed=1).inputs["scored"].seed == 1, "a fresh head is drawn"


def test_masks_of_the_levels_nest(ran: Callable[..., TrialResult]) -> None:
    half, zero = ran(sparsity=0.5).results["essential"], ran(sparsity=0.0).results["essential"]
    more = ran(sparsity=0.8).results["essential"]
    assert masks.contains(zero.keep, half.keep)
    assert masks.contains(half.keep, more.keep)
    again = ran(sparsity=0.5, arm="essential", essential={"start": "adapted"}).results
    assert same(again["essential"].keep, half.keep), "weights: pretrained are scored either way"


@pytest.mark.slow
def test_the_level_that_is_found_is_that_of_the_curve(trial: Make) -> None:
    changes = {"levels": (0.0, 0.3, 0.9), "tolerance": 0.1}
    result = run_trial(trial(sparsity="auto", essential=changes))
    curve = result.graph.curve
    assert [node.stage.name for node in curve] == ["recovered"] * 3
    accuracies = {}
    for level in (0.0, 0.3, 0.9):
        found = run_trial(trial(sparsity=level, essential=changes)).results["essential"]
        accuracies[level] = found.validation.accuracy
    drops = [accuracies[0.0] - accuracies[level] for level in (0.0, 0.3, 0.9)]
    picked = result.results["pick"].sparsity
    assert picked == first_violation([0.0, 0.3, 0.9], drops, 0.1)


def test_training_costs_count_the_levels_only_where_they_decide(trial: Make) -> None:
    named, found = graph(trial(sparsity=0.5)), graph(trial(sparsity="auto"))
    assert named.finetune is not None
    assert found.finetune is not None
    own = passes_of(named.finetune, COUNTS).trained
    assert own == 2 * 1000, "the recovery, and not that of level 0"
    assert passes_of(found.finetune, COUNTS).trained - own == 10 * 2 * 1000 + 2 * 1000


def test_plain_settings_make_the_stages_that_they_always_made(tiny_trial: Make) -> None:
    made = graph(tiny_trial(arm="essential", essential={"evaluate": "after_finetune"}))
    assert stages(made, "recovered") == []
    assert made.essential is not None
    assert made.essential.config.evaluate == "after_finetune"
    assert made.essential.inputs["model"] is made.dense
