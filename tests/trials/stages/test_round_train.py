"""The training before a prune: a part of one schedule, by one optimizer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.trials.conftest import Memory
from tests.trials.helpers import NOTHING, same
from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.finetune import Finetuned, RecoverConfig, finetune
from trials.stages.pretrained import Pretrained
from trials.stages.round_train import RoundTrainConfig, RoundTrained, carried, round_train
from trials.training.budget import Span
from trials.training.moments import steps_of
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

RECIPE = TrainConfig(lr=3e-3, batch_size=10, weight_decay=0.1)
TOTAL = 40
"""Four epochs of the 100 images of `small`."""

Make = Callable[..., RoundTrained]


@pytest.fixture
def make(small: Dataset, ctx: Context, dense: Dense, half: KeepMask) -> Make:
    def run(
        first: int = 0, steps: int = 5, model: Any = dense, where: Context = ctx, **changes: Any
    ) -> RoundTrained:
        span = Span(first=first, steps=steps, total=TOTAL, carry=changes.pop("carry", True))
        cfg = RoundTrainConfig(recipe=RECIPE, span=span, round=changes.pop("round", 1))
        inputs = {"seed": 0, "data": small, "mask": OneShot(half, NOTHING)} | changes
        return round_train(cfg, where, model=model, **inputs)

    return run


@pytest.fixture
def recover(small: Dataset, ctx: Context, half: KeepMask) -> Callable[..., Finetuned]:
    def run(model: Any, first: int, where: Context = ctx, carry: bool = True) -> Finetuned:
        span = Span(first=first, steps=TOTAL - first, total=TOTAL, carry=carry)
        cfg = RECIPE.part(RecoverConfig, epochs=4, span=span)
        inputs = {"data": small, "mask": OneShot(half, NOTHING), "tickets": None, "teacher": None}
        return finetune(cfg, where, seed=0, model=model, **inputs)

    return run


def test_the_rates_are_those_of_the_whole_schedule(
    make: Make, recover: Callable[..., Finetuned], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    one = make(0, 5)
    two = make(5, 12, one, round=2)
    recover(two, 17)
    assert found == [RECIPE.lr * RECIPE.rate(i, TOTAL) for i in range(TOTAL)]


def test_the_optimizer_goes_on_where_it_stood(
    make: Make, recover: Callable[..., Finetuned]
) -> None:
    one = make(0, 5)
    two = make(5, 12, one, round=2)
    assert [steps_of(found.optimizer) for found in (one, two)] == [5, 17]
    fresh = make(5, 12, one, round=2, carry=False)
    assert steps_of(fresh.optimizer) == 12
    assert not same(fresh.checkpoint, two.checkpoint)
    assert not same(recover(two, 17), recover(two, 17, carry=False))


def test_only_what_was_trained_in_rounds_has_moments_to_carry(make: Make, dense: Dense) -> None:
    span = Span(first=5, steps=1, total=TOTAL)
    assert carried(make(), span).keys() == make().optimizer.keys() != set()
    assert carried(make(), span.model_copy(update={"carry": False})) == {}
    assert carried(make(), None) == carried(dense, span) == {}


def test_two_parts_of_a_training_without_a_prune_are_one(
    trainer: Callable[..., Trainer], small: Dataset
) -> None:
    """Whole epochs of one order of images: bit for bit what one training does."""
    whole = trainer(RECIPE)
    whole.steps(20)
    state, moments = whole.model.module.state_dict(), whole.optimizer_state()
    again = trainer(RECIPE, span=Span(first=0, steps=20, total=20))
    again.steps(20)
    assert same(dict(again.model.module.state_dict()), dict(state))
    assert same(again.optimizer_state(), moments)


def test_weights_outside_the_mask_stay_zero(make: Make, half: KeepMask) -> None:
    one = make()
    smaller = masks.top_k(
        {name: one.checkpoint.state[name].abs() for name in half}, masks.kept(half) // 2, half
    )
    two = make(5, 5, one, mask=OneShot(smaller, NOTHING), round=2)
    for name, keep in smaller.items():
        assert not two.checkpoint.state[name][~keep].any(), "the moments know the old mask"
        assert two.checkpoint.state[name][keep].any()


def test_seed_and_round_decide_and_nothing_else(make: Make) -> None:
    assert same(make(), make())
    assert not same(make(), make(seed=1))
    assert not same(make(), make(round=2))


@pytest.mark.parametrize("dies_after", [1, 2])
def test_killed_and_resumed_a_round_is_the_same_bit_for_bit(
    make: Make, ctx: Context, dies_after: int
) -> None:
    """25 steps are two epochs and a half, after 5 steps of a round before."""
    before = make(0, 5)
    expected = make(5, 25, before)
    memory = Memory(dies_after)
    with pytest.raises(KeyboardInterrupt):
        make(5, 25, before, replace(ctx, snapshots=memory))
    memory.dies_after = None
    saves = memory.saves
    assert same(make(5, 25, before, replace(ctx, snapshots=memory)), expected)
    assert memory.saves - saves == 2 - dies_after, "it went on and did not begin again"


def test_killed_and_resumed_the_recovery_is_the_same_bit_for_bit(
    make: Make, recover: Callable[..., Finetuned], ctx: Context
) -> None:
    before = make(0, 15)
    expected = recover(before, 15)
    assert len(expected.history) == 3, "25 steps: two epochs and a half"
    memory = Memory(2)
    with pytest.raises(KeyboardInterrupt):
        recover(before, 15, replace(ctx, snapshots=memory))
    memory.dies_after = None
    assert same(recover(before, 15, replace(ctx, snapshots=memory)), expected)
    assert memory.saves == 2


def test_a_state_of_another_part_is_not_taken_up(make: Make, ctx: Context) -> None:
    memory = Memory(1)
    with pytest.raises(KeyboardInterrupt):
        make(5, 25, where=replace(ctx, snapshots=memory))
    memory.dies_after = None
    with pytest.warns(UserWarning, match="of other settings"):
        found = make(6, 25, where=replace(ctx, snapshots=memory))
    assert same(found, make(6, 25))


def test_a_diverging_round_is_named(make: Make, dense: Dense) -> None:
    state = dense.checkpoint.state | {"head.bias": torch.full((10,), float("nan"))}
    with pytest.raises(StageInputError, match=r"issp, training before prune 1: .* became nan"):
        make(model=Pretrained(replace(dense.checkpoint, state=state)))


def test_the_weights_that_come_out_are_of_the_model_that_went_in(
    make: Make, dense: Dense, cpu: torch.device
) -> None:
    found = make()
    assert found.checkpoint.arch == dense.checkpoint.arch
    assert found.steps == 5
    assert found.loss > 0
    assert Model.of(found.checkpoint, cpu).module is not None
