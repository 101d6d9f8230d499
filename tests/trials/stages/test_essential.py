import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trials.helpers import same
from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.calibrate import WeightScores
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, OneShotConfig, PickConfig, Picked, essential, pick
from trials.stages.pretrained import Pretrained
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig

RECIPE = TrainConfig(lr=3e-3, batch_size=32)


@pytest.fixture
def run(small: Dataset, ctx: Context, dense: Dense) -> Callable[..., OneShot]:
    def one_shot(**more: Any) -> OneShot:
        inputs: dict[str, Any] = {"seed": None, "scored": dense}
        inputs |= dict.fromkeys(("picked", "like", "scores"))
        names = inputs.keys()
        inputs |= {name: more.pop(name) for name in names & more.keys()}
        return essential(OneShotConfig(**more), ctx, data=small, model=dense, **inputs)

    return one_shot


def magnitude(checkpoint: Checkpoint, level: float) -> KeepMask:
    scores = {name: w.abs() for name, w in masks.prunable(checkpoint).items()}
    return masks.top_k(scores, masks.keep_count(masks.size(scores), level))


@pytest.mark.parametrize("level", [0.0, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_the_mask_has_exactly_the_level(
    run: Callable[..., OneShot], dense: Dense, level: float, criterion: str
) -> None:
    found = run(sparsity=level, criterion=criterion, seed=0)
    total = masks.size(masks.prunable(dense.checkpoint))
    assert masks.size(found.keep) == total
    assert total - masks.kept(found.keep) == round(level * total)


def test_the_dense_model_is_evaluated_under_the_mask(
    run: Callable[..., OneShot], dense: Dense, small: Dataset, ctx: Context, cpu: torch.device
) -> None:
    found = run(sparsity=0.5)
    assert same(found.keep, magnitude(dense.checkpoint, 0.5))
    pruned = Model.of(masks.masked(dense.checkpoint, found.keep), cpu)
    assert found.validation.loss == evaluate(pruned, small, "validation", ctx).loss


def test_sparsity_zero_is_the_dense_model(
    run: Callable[..., OneShot], dense: Dense, small: Dataset, ctx: Context, cpu: torch.device
) -> None:
    expected = evaluate(Model.of(dense.checkpoint, cpu), small, "validation", ctx)
    assert run(sparsity=0.0).validation.loss == expected.loss


def test_the_chosen_weights_decide(
    run: Callable[..., OneShot], pretrained: Pretrained, dense: Dense
) -> None:
    found = run(sparsity=0.5, scored=pretrained)
    assert same(found.keep, magnitude(pretrained.checkpoint, 0.5))
    assert not same(found.keep, magnitude(dense.checkpoint, 0.5))


def test_levels_of_the_same_weights_nest(run: Callable[..., OneShot]) -> None:
    levels = [run(sparsity=level).keep for level in (0.1, 0.3, 0.5)]
    for outer, inner in itertools.pairwise(levels):
        assert masks.contains(outer, inner)


def test_after_finetune_evaluates_the_recovered_model(run: Callable[..., OneShot]) -> None:
    at_once = run(sparsity=0.7)
    settings = {"sparsity": 0.7, "evaluate": "after_finetune", "recipe": RECIPE, "epochs": 4}
    recovered, again = run(**settings, seed=0), run(**settings, seed=0)
    assert same(recovered.keep, at_once.keep)
    assert recovered.validation.loss < at_once.validation.loss
    assert recovered.validation.loss == again.validation.loss
    assert recovered.validation.loss != run(**settings, seed=1).validation.loss


def test_a_picked_level_is_used_even_when_it_is_zero(run: Callable[..., OneShot]) -> None:
    for level in (0.0, 0.4):
        found = run(picked=Picked(level))
        assert masks.sparsity(found.keep) == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_a_control_has_the_exact_count_of_what_it_is_compared_with(
    run: Callable[..., OneShot], half: KeepMask, criterion: str
) -> None:
    name = next(iter(half))
    odd = {n: k.clone() for n, k in half.items()}
    odd[name].view(-1)[:3] = ~odd[name].view(-1)[:3]
    like = OneShot(odd, Outcomes(torch.zeros(1, dtype=torch.bool), 0.0))
    found = run(criterion=criterion, seed=0, like=like)
    assert masks.kept(found.keep) == masks.kept(odd)


def test_random_masks_follow_from_the_seed(run: Callable[..., OneShot]) -> None:
    first, again, other = (
        run(sparsity=0.5, criterion="random", seed=seed).keep for seed in (0, 0, 1)
    )
    assert same(first, again)
    assert not same(first, other)


def test_a_criterion_that_needs_data_is_refused_without_scores(run: Callable[..., OneShot]) -> None:
    with pytest.raises(StageInputError, match=r"wanda needs images.*calibrate"):
        run(sparsity=0.5, criterion="wanda")


def test_given_scores_decide_where_the_criterion_needs_data(
    run: Callable[..., OneShot], dense: Dense
) -> None:
    # Against the magnitudes: what is smallest is worth most.
    scores = {name: -w.abs() for name, w in masks.prunable(dense.checkpoint).items()}
    found = run(sparsity=0.5, criterion="wanda", scores=WeightScores(scores))
    assert same(found.keep, masks.top_k(scores, masks.kept(found.keep)))
    assert not same(found.keep, magnitude(dense.checkpoint, 0.5))


@pytest.mark.parametrize("level", [{"sparsity": 0.4}, {"picked": Picked(0.4)}], ids=str)
def test_a_level_that_the_pattern_cannot_give_is_refused(
    run: Callable[..., OneShot], level: dict[str, Any]
) -> None:
    with pytest.raises(StageInputError, match=r"2:4 cannot give the sparsity 0\.4"):
        run(**level, pattern="2:4")


def test_a_pattern_that_does_not_divide_the_model_names_the_tensor(
    run: Callable[..., OneShot],
) -> None:
    with pytest.raises(StageInputError, match=r"blocks\.0\.attn\.qkv\.weight has 32 inputs"):
        run(sparsity=0.4, pattern="3:5")


def outcomes(right: int) -> Outcomes:
    return Outcomes(torch.arange(100) < right, 0.0)


@pytest.mark.parametrize(
    ("right", "found"), [((90, 89, 88), 0.2), ((88, 90, 90), 0.0), ((91, 90, 95), 0.3)]
)
def test_auto_picks_the_last_level_before_the_first_violation(
    ctx: Context, dense: Dense, right: tuple[int, ...], found: float
) -> None:
    model = Dense(dense.checkpoint, (), outcomes(90), outcomes(0))
    curve = tuple(OneShot({}, outcomes(count)) for count in right)
    cfg = PickConfig(tolerance=0.01, levels=(0.1, 0.2, 0.3))
    assert pick(cfg, ctx, model=model, curve=curve) == Picked(found)
