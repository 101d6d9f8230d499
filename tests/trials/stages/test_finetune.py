import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trials import tickets as algebra
from trials import vit
from trials.data import Dataset
from trials.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.finetune import Finetuned, RecoverConfig, finetune
from trials.stages.pretrained import Pretrained
from trials.stages.tickets import Tickets
from trials.train import Context, Outcomes, evaluate

RECIPE = {"epochs": 2, "lr": 3e-3, "batch_size": 32}


@pytest.fixture
def mask(half: KeepMask) -> OneShot:
    return OneShot(half, Outcomes(torch.zeros(1, dtype=torch.bool), 0.0))


@pytest.fixture
def run(small: Dataset, ctx: Context, pretrained: Pretrained) -> Callable[..., Finetuned]:
    def recover(**more: Any) -> Finetuned:
        names = {"mask", "tickets", "teacher", "seed", "ctx"}
        inputs: dict[str, Any] = {"mask": None, "tickets": None, "teacher": None, "seed": 0}
        inputs |= {name: more.pop(name) for name in names & more.keys()}
        cfg = RecoverConfig.model_validate(RECIPE | more)
        return finetune(cfg, inputs.pop("ctx", ctx), data=small, model=pretrained, **inputs)

    return recover


def all_tickets(drop: float = 0.0) -> Tickets:
    draw = torch.Generator().manual_seed(0)
    count = algebra.keep_count(16, drop)
    return Tickets(*(algebra.random_patches(n, 16, count, draw) for n in (100, 40, 40)))


def same(a: Finetuned, b: Finetuned) -> bool:
    return all(
        torch.equal(a.checkpoint.state[n], b.checkpoint.state[n]) for n in a.checkpoint.state
    )


def test_its_outcomes_are_those_of_the_model_that_it_returns(
    run: Callable[..., Finetuned], small: Dataset, ctx: Context
) -> None:
    found = run()
    module = vit.build(found.checkpoint, ctx.device)
    again = evaluate(module, found.checkpoint.arch, small, "validation", ctx)
    assert torch.equal(found.validation.correct, again.correct)
    assert found.validation.loss == again.loss == found.history[-1].val_loss


def test_masked_weights_end_at_exactly_zero_and_the_others_have_moved(
    run: Callable[..., Finetuned], mask: OneShot, pretrained: Pretrained
) -> None:
    state = run(mask=mask).checkpoint.state
    for name, keep in mask.keep.items():
        assert not state[name][~keep].any()
        assert not state[name][~keep].signbit().any()
        moved = state[name][keep] != pretrained.checkpoint.state[name][keep]
        assert float(moved.float().mean()) > 0.99


def test_no_mask_and_no_dropped_patch_are_the_dense_training_bit_for_bit(
    run: Callable[..., Finetuned], mask: OneShot
) -> None:
    everything = OneShot({n: torch.ones_like(k) for n, k in mask.keep.items()}, mask.validation)
    free = run(mask=everything, tickets=all_tickets(), patches="ticket")
    assert same(free, run())


def test_tickets_change_the_training_only_when_they_are_used(
    run: Callable[..., Finetuned],
) -> None:
    some, plain = all_tickets(0.5), run()
    assert same(run(tickets=some, patches="all"), plain)
    ticketed = run(tickets=some, patches="ticket")
    assert not same(ticketed, plain)
    assert not same(run(tickets=some, patches="random"), ticketed)


def test_random_patches_use_only_the_number_of_the_tickets(run: Callable[..., Finetuned]) -> None:
    some = all_tickets(0.5)
    other = Tickets(~some.train, ~some.validation, ~some.test)
    assert same(run(tickets=some, patches="random"), run(tickets=other, patches="random"))
    assert not same(run(tickets=some, patches="ticket"), run(tickets=other, patches="ticket"))


def test_a_teacher_changes_the_training_by_its_share(
    run: Callable[..., Finetuned], dense: Dense
) -> None:
    plain = run()
    assert same(run(teacher=dense, distill=0.0), plain)
    assert not same(run(teacher=dense, distill=0.5), plain)


def test_the_history_has_an_epoch_each_and_the_speed_is_their_median(
    run: Callable[..., Finetuned],
) -> None:
    found = run(epochs=3)
    assert len(found.history) == 3
    assert found.images_per_s == statistics.median(e.images_per_s for e in found.history)


def test_a_stage_that_was_killed_continues_from_its_snapshot(
    run: Callable[..., Finetuned], mask: OneShot, memory: Any
) -> None:
    def kill(progress: Any) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    settings = {"mask": mask, "tickets": all_tickets(0.5), "patches": "random", "epochs": 3}
    with pytest.raises(KeyboardInterrupt):
        run(**settings, ctx=Context(progress=kill, snapshots=memory))
    assert same(run(**settings, ctx=Context(snapshots=memory)), run(**settings))
