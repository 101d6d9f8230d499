from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trials.helpers import same
from trials.seeding import Permutations, derive, generator, global_seed, repeatable
from trials.tokens.patches import Patches
from trials.training.train import Trainer

SEED = st.integers(0, 2**31)
NAMES = st.lists(st.sampled_from(["order", "augment", 0, 1]), max_size=3).map(tuple)


@given(SEED, NAMES, SEED, NAMES)
def test_different_purposes_get_different_seeds(
    a: int, names: tuple[str | int, ...], b: int, others: tuple[str | int, ...]
) -> None:
    assert (derive(a, *names) == derive(b, *others)) == ((a, names) == (b, others))


def test_derived_seeds_are_pinned() -> None:
    """A change of these numbers makes stored results differ from what their keys promise."""
    assert derive(0) == 3456079177858693020
    assert derive(0, "order", 1) == 4489457307835839548


@given(SEED)
def test_a_derived_seed_fits_into_a_generator(seed: int) -> None:
    assert 0 <= derive(seed, "x") < 2**63
    generator(seed, "x")


def test_a_generator_is_fresh_every_time() -> None:
    first, again = (torch.rand(4, generator=generator(0, "a")) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.rand(4, generator=generator(0, "b")))


@given(SEED, st.lists(st.one_of(st.integers(0, 50), st.integers(500, 2000)), max_size=5))
def test_permutations_are_those_of_torch(seed: int, counts: list[int]) -> None:
    draw, ours = generator(seed, "a"), Permutations(seed, "a")
    for count in counts:
        expected = torch.randperm(count, generator=draw)
        assert torch.equal(torch.from_numpy(ours.next(count)), expected)


def test_permutations_are_pinned() -> None:
    """Splits of data are made of them, and every key holds their digest."""
    ours = Permutations(0, "stratified", "digits test")
    assert ours.next(8).tolist() == [4, 7, 0, 1, 5, 3, 2, 6]
    assert ours.next(5).tolist() == [2, 1, 3, 0, 4]


def test_the_global_seed_is_restored_even_after_an_error() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with global_seed(1, "inside"):
        inside = torch.rand(3)
    with pytest.raises(RuntimeError), global_seed(2):
        raise RuntimeError
    assert torch.equal(torch.rand(3), expected)
    with global_seed(1, "inside"):
        assert torch.equal(torch.rand(3), inside)


@pytest.mark.parametrize("before", [False, True])
def test_only_repeatable_algorithms_run_inside_and_the_mode_is_left_as_it_was(
    cpu: torch.device, before: bool
) -> None:
    def fail() -> None:
        with repeatable(cpu):
            assert torch.are_deterministic_algorithms_enabled()
            raise KeyboardInterrupt

    torch.use_deterministic_algorithms(before)
    try:
        with pytest.raises(KeyboardInterrupt):
            fail()
        assert torch.are_deterministic_algorithms_enabled() == before
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("removal", ["gather", "attention_mask", "zero", "mean"])
def test_training_on_a_cpu_is_repeatable_with_or_without_the_mode(
    trainer: Callable[..., Trainer], ticket: Tensor, cpu: torch.device, removal: Any
) -> None:
    threads, states = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for mode in (False, True):
            made = trainer(patches=Patches(ticket, removal))
            with repeatable(cpu) if mode else nullcontext():
                made.epochs(1)
            states.append(dict(made.model.module.state_dict()))
    finally:
        torch.set_num_threads(threads)
    assert same(states[0], states[1])
