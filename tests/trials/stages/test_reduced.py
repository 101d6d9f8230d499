"""Recoveries of models whose tokens leave inside: ToMe, EViT, random tokens, DynamicViT."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.trials.helpers import same
from trials.context import Context, Epoch, Outcomes
from trials.data.datasets import Dataset
from trials.errors import ModelError, StageInputError
from trials.model import cost
from trials.model.capability import of_arch
from trials.model.module import Model
from trials.model.vit import Checkpoint, reducing
from trials.reduction.config import ReductionConfig
from trials.sparsity.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.evaluate import EvaluateConfig, evaluate_final
from trials.stages.finetune import Finetuned, RecoverConfig, finetune
from trials.stages.pretrained import Pretrained
from trials.stages.profile import Profile
from trials.stages.reduced import ReducedConfig, reduced
from trials.stages.tickets import Tickets
from trials.tokens import tickets as algebra
from trials.training.evaluation import evaluate
from trials.training.reducing import Reducing, fixed_noise
from trials.training.train import Trainer

RECIPE = {"epochs": 3, "lr": 3e-3, "batch_size": 32, "grad_clip": 1.0}
METHODS: dict[str, dict[str, Any]] = {
    "evit": {"keep": 0.6},
    "evit shrinking": {"method": "evit", "keep": 0.5, "shrink_start": 1, "shrink_epochs": 1},
    "tome": {"r": 3},
    "tome at random": {"method": "tome", "r": 3, "metric": "random"},
    "random": {"keep": 0.6},
    "random fixed": {"method": "random", "keep": 0.6, "random": "fixed"},
    "dynamicvit": {"keep": 0.7, "hold": 0.0, "backbone_lr": 1.0},
}
SCHEDULED = "val_accuracy_scheduled"
Run = Callable[..., Finetuned]


def settings(name: str, **more: Any) -> ReductionConfig:
    return ReductionConfig.model_validate({"method": name} | METHODS[name] | more)


@pytest.fixture
def run(small: Dataset, ctx: Context, pretrained: Pretrained, dense: Dense) -> Run:
    def made(reduction: ReductionConfig, **more: Any) -> Finetuned:
        names = {"mask", "tickets", "teacher", "scorer", "seed", "ctx"}
        inputs: dict[str, Any] = {"mask": None, "tickets": None, "teacher": None, "seed": 0}
        if reduction.predicts:
            inputs["teacher"] = dense
        inputs |= {name: more.pop(name) for name in names & more.keys()}
        cfg = ReducedConfig.model_validate(RECIPE | {"reduction": reduction} | more)
        return reduced(cfg, inputs.pop("ctx", ctx), data=small, model=pretrained, **inputs)

    return made


def some_tickets(drop: float = 0.25) -> Tickets:
    draw = torch.Generator().manual_seed(0)
    count = algebra.keep_count(16, drop)
    return Tickets(*(algebra.random_patches(n, 16, count, draw) for n in (100, 40, 40)))


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(
    run: Run, half: KeepMask, memory: Any, name: str
) -> None:
    def kill(progress: Any) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    mask = OneShot(half, Outcomes(torch.zeros(1, dtype=torch.bool), 0.0))
    more = {"mask": mask, "tickets": some_tickets(), "patches": "ticket", "flip": True}
    with pytest.raises(KeyboardInterrupt):
        run(settings(name), **more, ctx=Context(progress=kill, snapshots=memory))
    assert memory.saves == 1
    whole = run(settings(name), **more)
    assert same(run(settings(name), **more, ctx=Context(snapshots=memory)), whole)
    for weight, keep in mask.keep.items():
        assert not whole.checkpoint.state[weight][~keep].any()


@pytest.mark.parametrize("name", METHODS)
def test_small_parts_of_a_batch_make_the_same_step(
    small: Dataset, checkpoint: Checkpoint, dense: Dense, name: str
) -> None:
    config = settings(name)

    def step(ctx: Context) -> tuple[dict[str, Tensor], float, dict[str, float]]:
        model = Model.of(reducing(checkpoint, config, 0), ctx.device)
        teacher = Model.of(dense.checkpoint, ctx.device)
        recipe = ReducedConfig.model_validate(
            RECIPE | {"reduction": config, "batch_size": 100, "grad_clip": None}
        )
        trainer = Trainer(model, small, recipe, ctx, 0, reducing=Reducing(config, 0, teacher))
        loss = trainer.epochs(1)[0]
        named = model.module.named_parameters()
        found = {name: p.grad for name, p in named if p.grad is not None}
        return found, loss.train_loss, loss.numbers

    whole, parts = step(Context()), step(Context(micro_batch=7))
    assert whole[0].keys() == parts[0].keys()
    for tensor, gradient in whole[0].items():
        assert torch.allclose(parts[0][tensor], gradient, atol=1e-5, rtol=1e-4), tensor
    assert parts[1] == pytest.approx(whole[1], abs=1e-5)
    numbers = [{n: v for n, v in one[2].items() if n != SCHEDULED} for one in (whole, parts)]
    assert numbers[1] == pytest.approx(numbers[0], abs=1e-5)


@pytest.mark.parametrize("name", ["evit", "random", "tome"])
def test_where_nothing_leaves_it_is_the_plain_recovery_bit_for_bit(
    run: Run, small: Dataset, ctx: Context, pretrained: Pretrained, name: str
) -> None:
    none = settings(name, **({"r": 0} if name == "tome" else {"keep": 1.0}))
    inputs: Any = {"data": small, "model": pretrained, "mask": None, "tickets": None}
    plain = finetune(RecoverConfig.model_validate(RECIPE), ctx, seed=0, teacher=None, **inputs)
    found = run(none)
    assert same(found.checkpoint.state, plain.checkpoint.state)
    assert same((found.history, found.validation), (plain.history, plain.validation))
    assert found.train_macs == cost.forward_macs(of_arch(plain.checkpoint.arch))


@pytest.mark.parametrize("name", ["evit", "tome", "random"])
def test_without_training_the_weights_are_copied_and_the_reduced_model_is_evaluated(
    run: Run, small: Dataset, ctx: Context, checkpoint: Checkpoint, name: str
) -> None:
    found = run(settings(name, train=False), epochs=0)
    assert same(found.checkpoint.state, checkpoint.state)
    assert (found.history, found.images_per_s, found.train_macs) == ((), 0.0, 0.0)
    made = Model.of(reducing(checkpoint, settings(name), 0), ctx.device)
    again = evaluate(made, small, "validation", ctx)
    assert torch.equal(found.validation.correct, again.correct)
    assert found.validation.loss == again.loss
    assert again.loss != evaluate(made.reduced_by(None), small, "validation", ctx).loss


def test_other_patches_are_drawn_for_another_seed_and_the_same_for_one(
    small: Dataset, ctx: Context, checkpoint: Checkpoint
) -> None:
    def loss(seed: int) -> float:
        made = reducing(checkpoint, settings("random"), seed)
        return evaluate(Model.of(made, ctx.device), small, "validation", ctx).loss

    assert loss(0) == loss(0) != loss(1)


def test_fixed_numbers_hang_on_the_image_and_look_like_chance() -> None:
    rows = torch.tensor([7, 3, 100_000])
    one = fixed_noise(1, rows, 2, 50)
    assert torch.equal(one[1], fixed_noise(1, torch.tensor([3]), 2, 50)[0])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, fixed_noise(2, rows, 2, 50))
    many = fixed_noise(0, torch.arange(200), 3, 16)
    assert many.shape == (200, 3, 16, 2)
    assert 0 <= float(many.min()) < float(many.max()) < 1
    assert float(many.mean()) == pytest.approx(0.5, abs=0.02)
    first = many.flatten(1)
    assert (
        abs(float(torch.corrcoef(torch.stack([first[:-1].ravel(), first[1:].ravel()]))[0, 1]))
        < 0.03
    )


def test_while_keep_falls_the_curve_has_the_accuracy_at_the_moments_rate(run: Run) -> None:
    found = run(settings("evit shrinking"))
    named = [set(epoch.numbers) for epoch in found.history]
    assert named == [{SCHEDULED}, set(), set()]
    whole = cost.forward_macs(of_arch(found.checkpoint.arch))
    final = cost.reduced_macs(of_arch(found.checkpoint.arch), settings("evit shrinking"))
    assert found.train_macs is not None
    # A third at keep 1, a third falling, a third at the final rate.
    assert (whole + 2 * final) / 3 < found.train_macs < (2 * whole + final) / 3


def test_dynamicvit_tells_its_losses_and_what_each_stage_keeps(run: Run) -> None:
    found = run(settings("dynamicvit"))
    losses = {f"loss_{part}" for part in ("classification", "teacher", "tokens", "ratio")}
    for epoch in found.history:
        assert epoch.numbers.keys() == losses | {"kept_1", "kept_2"}
        parts = epoch.numbers
        total = parts["loss_classification"] + 0.5 * parts["loss_teacher"]
        total += 0.5 * parts["loss_tokens"] + 2 * parts["loss_ratio"]
        assert epoch.train_loss == pytest.approx(total, abs=1e-4)
        assert 0 < parts["kept_2"] <= parts["kept_1"] <= 1
    assert any(name.startswith("reducer.0.") for name in found.checkpoint.state)


def test_dynamicvit_holds_all_but_its_predictors_and_never_trains_the_embeddings(
    run: Run, checkpoint: Checkpoint, dense: Dense
) -> None:
    before = {name: tensor.clone() for name, tensor in dense.checkpoint.state.items()}
    first = run(settings("dynamicvit", hold=0.99, freeze_embeddings=False))
    for name, tensor in checkpoint.state.items():
        held = torch.equal(first.checkpoint.state[name], tensor)
        assert not held, "in the last of three epochs everything trains"
    only = run(settings("dynamicvit", hold=0.5, freeze_embeddings=False), epochs=2)
    assert not torch.equal(only.checkpoint.state["head.weight"], checkpoint.state["head.weight"])
    frozen = run(settings("dynamicvit"))
    same_as_before = {
        name
        for name, tensor in checkpoint.state.items()
        if torch.equal(frozen.checkpoint.state[name], tensor)
    }
    assert same_as_before == {"cls_token", "pos_embed"}
    assert same(dense.checkpoint.state, before), "the teacher"


def test_in_the_held_epochs_only_predictors_move(
    small: Dataset, ctx: Context, checkpoint: Checkpoint, dense: Dense
) -> None:
    config = settings("dynamicvit", hold=0.5, freeze_embeddings=False)
    start = reducing(checkpoint, config, 0)
    model = Model.of(start, ctx.device)
    recipe = ReducedConfig.model_validate(RECIPE | {"reduction": config})
    teacher = Model.of(dense.checkpoint, ctx.device)
    trainer = Trainer(model, small, recipe, ctx, 0, reducing=Reducing(config, 0, teacher))
    trainer.epochs(2, stop=1)
    moved = {n for n, t in model.checkpoint().state.items() if not torch.equal(t, start.state[n])}
    assert moved
    assert all(name.startswith("reducer.") for name in moved)
    assert same(teacher.checkpoint().state, dense.checkpoint.state)


def test_the_backbone_learns_at_its_share_of_the_predictors_rate(
    small: Dataset, ctx: Context, checkpoint: Checkpoint, dense: Dense
) -> None:
    config = settings("dynamicvit", backbone_lr=0.01)
    model = Model.of(reducing(checkpoint, config, 0), ctx.device)
    recipe = ReducedConfig.model_validate(RECIPE | {"reduction": config})
    teacher = Model.of(dense.checkpoint, ctx.device)
    trainer = Trainer(model, small, recipe, ctx, 0, reducing=Reducing(config, 0, teacher))
    trainer.steps(1)
    rates = {
        name: group["lr"]
        for group in trainer._optimizer.param_groups
        for name, own in model.module.named_parameters()
        if any(own is one for one in group["params"])
    }
    predictors = {rate for name, rate in rates.items() if name.startswith("reducer.")}
    others = {rate for name, rate in rates.items() if not name.startswith("reducer.")}
    assert predictors == {3e-3}
    assert others == {3e-3 * 0.01}
    assert "cls_token" not in rates


def test_a_loss_that_is_not_finite_says_what_helps_dynamicvit(
    run: Run, pretrained: Pretrained
) -> None:
    with pytest.raises(
        StageInputError, match=r"raise reduction.keep, or set finetune.grad_clip \(now none\)"
    ):
        run(settings("dynamicvit"), lr=1e30, grad_clip=None, epochs=4)


def test_the_final_numbers_are_those_of_the_reduced_and_of_the_whole_model(
    run: Run, small: Dataset, ctx: Context, dense: Dense
) -> None:
    found, kept = run(settings("tome"), epochs=1), some_tickets()
    profile = Profile(10.0, 20.0, 1.0, 1.0, parameters=40_000)
    inputs: dict[str, Any] = {"data": small, "model": found, "dense": dense, "profile": profile}
    cfg = EvaluateConfig(arm="reduced", passes=cost.Passes(trained_reduced=100))
    final = evaluate_final(cfg, ctx, mask=None, tickets=None, **inputs)
    own = Model.of(found.checkpoint, ctx.device)
    whole = Model.of(
        Checkpoint(replace(found.checkpoint.arch, reduction=None), found.checkpoint.state),
        ctx.device,
    )
    by_hand = evaluate(own, small, "test", ctx), evaluate(whole, small, "test", ctx)
    assert (final.deployed_test.loss, final.test.loss) == tuple(one.loss for one in by_hand)
    assert by_hand[0].loss != by_hand[1].loss
    assert final.deployed_validation is found.validation
    assert final.block_tokens == ((17, 14), (14, 11))
    assert final.macs_training == 300 * cost.reduced_macs(of_arch(own.arch), settings("tome"))
    ticketed = evaluate_final(cfg, ctx, mask=None, tickets=kept, **inputs)
    assert ticketed.deployed_test.loss == evaluate(own, small, "test", ctx, kept.test).loss
    assert ticketed.block_tokens == ((13, 10), (10, 7))


def test_hidden_patches_and_other_numbers_of_them_are_refused(
    small: Dataset, ctx: Context, checkpoint: Checkpoint
) -> None:
    own = Model.of(reducing(checkpoint, settings("tome"), 0), ctx.device)
    kept = some_tickets().test
    with pytest.raises(ModelError, match=r"write `tickets.removal: gather`"):
        evaluate(own, small, "test", ctx, kept, removal="zero")
    uneven = kept.clone()
    uneven[0] = True
    with pytest.raises(ModelError, match="equally many patches of each image"):
        evaluate(own, small, "test", ctx, uneven)


def test_a_recovery_without_training_needs_no_epoch_and_others_do() -> None:
    assert ReducedConfig(epochs=0, reduction=settings("tome")).epochs == 0
    with pytest.raises(ValidationError, match="epochs"):
        RecoverConfig(epochs=0)
    assert Epoch(0.0, 0.0, 0.0, 1.0).numbers == {}
