from typing import Any

import pytest
import torch

from trials.context import Context
from trials.stages.attention import PatchScores
from trials.stages.tickets import TicketsConfig, tickets
from trials.tokens import tickets as algebra


@pytest.fixture(scope="module")
def scores() -> PatchScores:
    draw = torch.Generator().manual_seed(0)
    return PatchScores(*(torch.rand(count, 20, generator=draw) for count in (30, 10, 10)))


def choose(scores: PatchScores, seed: int | None = None, **cfg: Any) -> Any:
    return tickets(TicketsConfig.model_validate(cfg), Context(), seed=seed, scores=scores)


@pytest.mark.parametrize(("drop", "kept"), [(0.0, 20), (0.1, 18), (0.33, 14), (0.99, 1)])
@pytest.mark.parametrize("select", ["attention", "lowest", "random_fixed"])
def test_every_image_of_every_split_keeps_the_same_count(
    scores: PatchScores, drop: float, kept: int, select: str
) -> None:
    found = choose(scores, seed=0, patch_drop=drop, select=select)
    assert found.kept == kept
    for keep, images in ((found.train, 30), (found.validation, 10), (found.test, 10)):
        assert keep.dtype == torch.bool
        assert keep.sum(1).tolist() == [kept] * images


def test_tickets_nest_in_the_patch_drop(scores: PatchScores) -> None:
    few, many = choose(scores, patch_drop=0.5).train, choose(scores, patch_drop=0.1).train
    assert bool((many | ~few).all())
    assert torch.equal(few, algebra.select_patches(scores.train, 10))


def test_lowest_keeps_what_attention_drops(scores: PatchScores) -> None:
    best, worst = (choose(scores, patch_drop=0.5, select=s) for s in ("attention", "lowest"))
    assert torch.equal(best.test, ~worst.test)


def test_fixed_random_patches_follow_from_the_seed_and_differ_by_image_and_split(
    scores: PatchScores,
) -> None:
    first, again, other = (
        choose(scores, seed=seed, patch_drop=0.5, select="random_fixed") for seed in (0, 0, 1)
    )
    assert torch.equal(first.train, again.train)
    assert not torch.equal(first.train, other.train)
    assert not torch.equal(first.validation, first.test)
    assert len(first.train.unique(dim=0)) > 25


@pytest.mark.parametrize(("drop", "kept"), [(0.0, 20), (0.1, 18), (0.33, 14), (0.99, 1)])
@pytest.mark.parametrize("select", ["attention", "lowest", "random_fixed"])
def test_a_global_threshold_keeps_the_same_total_in_every_split(
    scores: PatchScores, drop: float, kept: int, select: str
) -> None:
    found = choose(scores, seed=0, patch_drop=drop, select=select, scope="global")
    assert found.kept == kept
    for keep, images in ((found.train, 30), (found.validation, 10), (found.test, 10)):
        assert int(keep.sum()) == kept * images
        assert int(keep.sum(1).min()) >= 1
        assert (len(keep.sum(1).unique()) > 1) == (1 < kept < 20)


def test_fixed_random_patches_are_as_many_as_the_image_has_on_its_global_ticket(
    scores: PatchScores,
) -> None:
    ticket, control = (
        choose(scores, seed=0, patch_drop=0.5, select=select, scope="global")
        for select in ("attention", "random_fixed")
    )
    assert torch.equal(ticket.train.sum(1), control.train.sum(1))
    assert not torch.equal(ticket.train, control.train)
