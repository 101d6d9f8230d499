"""How the steps of one training are shared among the rounds and the recovery."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest

from trials import run_trial
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.errors import StageInputError
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.schedule import Schedule, problems, schedule_of
from trials.graph.sources import Sources
from trials.stage import Node, Source, closure

COUNTS = Counts(train=1000, validation=200, test=500, classes=10, channels=1)
WHOLE = Sources(Source("data", "d"), Source("weights", "w"), fresh_head=False, counts=COUNTS)
RECIPE = {"epochs": 8, "batch_size": 50, "weights": "current", "warmup_steps": 20}
Trial = Callable[..., TrialConfig]
ONE_TRAINING = ("isp_published", "isp_published_votes", "isp_code", "progressive")


@pytest.fixture
def trial(tiny_trial: Trial) -> Trial:
    """Eight epochs of 20 steps; keyword arguments are settings of `issp`, but for the arm."""

    def make(arm: str = "issp", sparsity: float = 0.0, **section: Any) -> TrialConfig:
        section = {"target_sparsity": 0.8, "batch_size": 50} | section
        made = tiny_trial(
            model=tiny_trial().model.model_copy(update={"pretrained": "w.safetensors"}),
            arm=arm, sparsity=sparsity, finetune=RECIPE, issp=section,
        )  # fmt: skip
        return made.resolved()

    return make


def planned(trial: TrialConfig) -> Schedule:
    found = schedule_of(trial, COUNTS.train)
    assert found is not None
    return found


def graph(trial: TrialConfig) -> TrialGraph:
    return pipeline(trial, WHOLE)


def stages(graph: TrialGraph, name: str) -> list[Node[Any]]:
    return [node for node in closure(graph.final) if node.stage.name == name]


@pytest.mark.parametrize("preset", ONE_TRAINING)
@pytest.mark.parametrize("target", [0.5, 0.7])
def test_rounds_and_recovery_share_the_steps_of_one_training(
    trial: Trial, preset: str, target: float
) -> None:
    found = planned(trial(preset=preset, target_sparsity=target))
    assert found.rest is not None
    spans = [*found.rounds, found.rest]
    assert sum(span.steps for span in spans) == 8 * 20, "as many as an arm that prunes once"
    assert {span.total for span in spans} == {160}
    for before, after in itertools.pairwise(spans):
        assert after.first == before.first + before.steps
    assert spans[0].first == 0


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rates_of_all_parts_add_up_to_those_of_one_training(
    trial: Trial, schedule: str
) -> None:
    base = trial(preset="isp_published")
    base = base.model_copy(
        update={"finetune": base.finetune.model_copy(update={"schedule": schedule})}
    )
    found = planned(base)
    assert found.rest is not None
    assert found.recipe.schedule == schedule
    parts = [
        found.recipe.rate(span.first + step, span.total)
        for span in (*found.rounds, found.rest)
        for step in range(span.steps)
    ]
    assert parts == [found.recipe.rate(step, 160) for step in range(160)]


def test_a_round_trains_a_tenth_of_an_epoch_more_than_the_one_before(trial: Trial) -> None:
    """ln(0.2) / ln(0.85) is 9.9 rounds, and a tenth of 20 steps is 2."""
    steps = [span.steps for span in planned(trial(preset="isp_published")).rounds]
    assert steps == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    equal = trial(preset="isp_published", train_growth="constant", train_fraction=0.2)
    assert [span.steps for span in planned(equal).rounds] == [4] * 10
    ten_points = trial(preset="progressive_published", train_fraction=0.5)
    assert [span.steps for span in planned(ten_points).rounds] == [10] * 8


def test_look_ahead_steps_are_taken_off_only_where_that_is_asked_for(trial: Trial) -> None:
    counted = trial(preset="isp_published", count_look_ahead=True, ingredients=3, steps=2)
    assert [span.steps for span in planned(counted).rounds][:5] == [1, 1, 1, 2, 4]


def test_fewer_rounds_are_needed_from_a_first_mask(trial: Trial) -> None:
    assert trial(preset="isp_published", sparsity=0.5).issp_rounds == 6
    assert trial(preset="progressive_published", sparsity=0.5).issp_rounds == 3
    relative = trial(preset="isp_published", sparsity=0.5, sparsity_reference="relative")
    assert relative.issp_rounds == 10
    assert trial(rounds=3).issp_rounds == 3


def test_each_round_trains_before_it_prunes_and_the_recovery_goes_on(trial: Trial) -> None:
    made = graph(trial(preset="isp_published", target_sparsity=0.5))
    trained, soups = stages(made, "round_train"), stages(made, "denoise")
    merges = stages(made, "issp")
    assert len(trained) == len(soups) == len(merges) == 5
    for i, (train, soup, merge) in enumerate(zip(trained, soups, merges, strict=True)):
        assert train.inputs["model"] is (trained[i - 1] if i else made.pretrained)
        assert train.inputs["mask"] is (merges[i - 1] if i else made.essential)
        assert soup.inputs["model"] is merge.inputs["model"] is train
        assert soup.inputs["within"] is merge.inputs["within"] is (merges[i - 1] if i else None)
    assert made.finetune is not None
    assert made.round_train is made.finetune.inputs["model"] is trained[-1]
    assert made.finetune.inputs["mask"] is merges[-1]
    assert made.finetune.config.span.first == sum(node.config.span.steps for node in trained)


def test_lottery_tickets_train_as_the_recovery_does_and_go_back(trial: Trial) -> None:
    made = graph(trial(preset="lth"))
    soups = stages(made, "denoise")
    assert len(soups) == 8
    for soup in soups:
        assert soup.inputs["model"] is made.pretrained
        assert (soup.config.steps, soup.config.mask_data_fraction) == (160, 1.0)
        assert soup.config.recipe == planned(trial(preset="progressive")).recipe
    assert made.finetune is not None
    assert made.finetune.inputs["model"] is made.issp
    assert made.finetune.config.span is None


def test_a_constant_rate_leaves_the_recovery_its_own_schedule(trial: Trial) -> None:
    found = planned(trial(preset="isp_published", rate="constant"))
    assert found.rest is None
    assert {span.first for span in found.rounds} == {0}
    assert {(span.total - span.steps, span.carry) for span in found.rounds} == {(0, False)}
    assert found.recipe.schedule == "constant"


def test_arms_without_issp_and_rounds_that_prune_first_have_no_schedule(trial: Trial) -> None:
    assert schedule_of(trial("magnitude", preset="isp_published"), 1000) is None
    assert schedule_of(trial(preset="lth"), 1000) is None
    control = graph(trial("magnitude", preset="isp_published"))
    assert control.finetune is not None
    assert control.finetune.config.span is None
    assert control.finetune.config.epochs == 8, "as many steps as rounds and recovery together"


def test_rounds_that_leave_no_step_are_refused_in_one_line(trial: Trial, tiny_trial: Trial) -> None:
    long = trial(preset="isp_published", train_fraction=0.3)
    ((name, message),) = problems(long, COUNTS)
    assert name + message == (
        "issp: round 7 of 10 leaves no step for fine-tuning: the rounds train 330 of 160 steps; "
        "raise finetune.epochs or lower issp.train_fraction"
    )
    with pytest.raises(ValueError, match="train 330 of 160"):
        schedule_of(long, COUNTS.train)
    assert not list(problems(long.model_copy(update={"arm": "dense"}), COUNTS))
    section = {"preset": "progressive", "start": "adapted", "train_fraction": 3}
    with pytest.raises(StageInputError, match=re.escape("issp: round 1 of ")):
        run_trial(tiny_trial(arm="issp", sparsity=0.0, issp=section))
