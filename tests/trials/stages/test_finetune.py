import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.trials.helpers import same
from trials.context import Context, Outcomes
from trials.data.datasets import Dataset, fraction_indices
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity.masks import KeepMask
from trials.stages.attention import AttentionConfig, attention
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.finetune import Finetuned, RecoverConfig, finetune
from trials.stages.pretrained import Pretrained
from trials.stages.tickets import Tickets, TicketsConfig
from trials.stages.tickets import tickets as choose
from trials.tokens import tickets as algebra
from trials.training.evaluation import evaluate
from trials.training.train import Trainer

RECIPE = {"epochs": 2, "lr": 3e-3, "batch_size": 32}


@pytest.fixture
def mask(half: KeepMask) -> OneShot:
    return OneShot(half, Outcomes(torch.zeros(1, dtype=torch.bool), 0.0))


@pytest.fixture
def run(small: Dataset, ctx: Context, pretrained: Pretrained) -> Callable[..., Finetuned]:
    def recover(**more: Any) -> Finetuned:
        names = {"mask", "tickets", "teacher", "scorer", "seed", "ctx"}
        inputs: dict[str, Any] = {"mask": None, "tickets": None, "teacher": None, "seed": 0}
        inputs |= {name: more.pop(name) for name in names & more.keys()}
        cfg = RecoverConfig.model_validate(RECIPE | more)
        return finetune(cfg, inputs.pop("ctx", ctx), data=small, model=pretrained, **inputs)

    return recover


def all_tickets(drop: float = 0.0) -> Tickets:
    draw = torch.Generator().manual_seed(0)
    count = algebra.keep_count(16, drop)
    return Tickets(*(algebra.random_patches(n, 16, count, draw) for n in (100, 40, 40)))


def test_its_outcomes_are_those_of_the_model_that_it_returns(
    run: Callable[..., Finetuned], small: Dataset, ctx: Context
) -> None:
    found = run()
    again = evaluate(Model.of(found.checkpoint, ctx.device), small, "validation", ctx)
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


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_other_images_are_those_that_the_denoised_mask_did_not_see(
    run: Callable[..., Finetuned],
    small: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    fraction: float,
) -> None:
    trained: list[Trainer] = []
    real = Trainer.epochs
    monkeypatch.setattr(Trainer, "epochs", lambda t, n: (trained.append(t), real(t, n))[1])
    run(other_than=fraction, seed=3)
    run(seed=3)
    seen = fraction_indices(small.train.labels, fraction, 3, "mask data")
    subset = trained[0].subset
    assert subset is not None
    assert sorted([*seen.tolist(), *subset.tolist()]) == list(range(100))
    assert trained[1].subset is None


def test_a_fraction_that_leaves_no_other_image_is_refused(run: Callable[..., Finetuned]) -> None:
    with pytest.raises(StageInputError, match=r"mask_data_fraction = 0\.999 takes all 100"):
        run(other_than=0.999)


def test_online_tickets_follow_the_scorer_and_its_settings(
    run: Callable[..., Finetuned], pretrained: Pretrained, dense: Dense
) -> None:
    some = all_tickets(0.5)
    settings = {"tickets": some, "patches": "ticket", "crop": 1}
    plain = run(**settings, online={}, scorer=pretrained)
    assert same(plain, run(**settings, online={}, scorer=pretrained))
    for other in (
        run(**settings, online={}, scorer=dense),
        run(**settings, online={"select": "lowest"}, scorer=pretrained),
        run(**settings, online={"block": 0}, scorer=pretrained),
        run(**settings | {"tickets": all_tickets(0.25)}, online={}, scorer=pretrained),
    ):
        assert not same(plain, other)


def test_online_without_augmentation_is_the_static_ticket(
    run: Callable[..., Finetuned], small: Dataset, ctx: Context, pretrained: Pretrained
) -> None:
    scores = attention(AttentionConfig(), ctx, data=small, model=pretrained)
    made = choose(TicketsConfig(patch_drop=0.5), ctx, seed=None, scores=scores)
    static = run(tickets=made, patches="ticket")
    assert same(static, run(tickets=made, patches="ticket", online={}, scorer=pretrained))


@pytest.mark.parametrize("wrong", [{"scope": "global"}, {"select": "random_fixed"}])
def test_what_cannot_be_selected_online_is_no_setting(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        RecoverConfig.model_validate(RECIPE | {"online": wrong})


NESTED = {"score": "nested", "nested_keep": 0.6}
SELECTED: dict[str, dict[str, Any]] = {
    "on a selector's patches": {"patches": "ticket", "online": NESTED},
    "on random patches": {"patches": "random", "apart": True},
}


@pytest.mark.parametrize("name", SELECTED)
def test_a_student_of_the_three_way_test_that_was_killed_ends_as_if_it_had_not_been(
    run: Callable[..., Finetuned], dense: Dense, memory: Any, name: str
) -> None:
    def kill(progress: Any) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    more = {"tickets": all_tickets(0.5), "flip": True, "scorer": dense, "epochs": 3}
    settings = SELECTED[name] | more
    with pytest.raises(KeyboardInterrupt):
        run(**settings, ctx=Context(progress=kill, snapshots=memory))
    assert memory.saves == 1
    whole = run(**settings)
    assert same(run(**settings, ctx=Context(snapshots=memory)), whole)
    assert not same(run(**settings | {"tickets": all_tickets(0.25)}), whole)


def test_a_selector_gives_places_only_and_stays_as_it_is(
    run: Callable[..., Finetuned], dense: Dense
) -> None:
    settings = SELECTED["on a selector's patches"] | {"tickets": all_tickets(0.5), "flip": True}
    before = {name: tensor.clone() for name, tensor in dense.checkpoint.state.items()}
    plain = run(**settings, scorer=dense)
    assert all(torch.equal(dense.checkpoint.state[name], one) for name, one in before.items())
    heads = {
        name: torch.full_like(one, torch.nan) for name, one in before.items() if "head" in name
    }
    assert heads, "whose logits are NaN"
    silent = Dense(
        Checkpoint(dense.checkpoint.arch, before | heads), (), dense.validation, dense.test
    )
    assert same(run(**settings, scorer=silent), plain)
    other = before | {"cls_token": before["cls_token"].flip(-1)}
    seeing = Dense(Checkpoint(dense.checkpoint.arch, other), (), dense.validation, dense.test)
    assert not same(run(**settings, scorer=seeing), plain), "but its attention is read"


def test_patches_that_are_drawn_apart_leave_the_images_as_they_move_without(
    run: Callable[..., Finetuned],
) -> None:
    """Where all patches are kept, nothing else can tell the two trainings apart."""
    whole = run(flip=True)
    apart = run(flip=True, tickets=all_tickets(), patches="random", apart=True)
    assert same(apart.checkpoint, whole.checkpoint)
    together = run(flip=True, tickets=all_tickets(), patches="random")
    assert not same(together.checkpoint, whole.checkpoint)
