from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trials import masks
from trials.data import Dataset, Split, fraction_indices
from trials.errors import StageInputError
from trials.masks import KeepMask
from trials.stages.denoise import Candidates, DenoiseConfig, TargetConfig, denoise, target_count
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.train import Context, Outcomes, Progress

NOTHING = Outcomes(torch.zeros(1, dtype=torch.bool), 0.0)
LEVEL = st.floats(0.0, 0.95)
TOTAL = 1000


def first_mask(level: float, total: int = TOTAL) -> KeepMask:
    keep = torch.zeros(total, dtype=torch.bool)
    keep[: masks.keep_count(total, level)] = True
    return {"w": keep}


@given(LEVEL, st.floats(0.01, 0.99), st.integers(1, 12), st.sampled_from(["geometric", "cubic"]))
def test_a_relative_target_is_of_what_the_first_mask_left(
    s1: float, r: float, rounds: int, schedule: Any
) -> None:
    first = first_mask(s1)
    cfg = TargetConfig(
        target_sparsity=r, sparsity_reference="relative", rounds=rounds, schedule=schedule
    )
    kept = target_count(cfg, first, rounds)
    assert abs(kept - masks.kept(first) * (1 - r)) <= 1, "1 - S = (1 - s1)(1 - r) but one weight"


@given(LEVEL, st.floats(0.01, 0.99), st.integers(1, 12), st.sampled_from(["geometric", "cubic"]))
def test_rounds_descend_from_the_first_mask_and_end_exactly_at_the_target(
    s1: float, target: float, rounds: int, schedule: Any
) -> None:
    low, high = sorted((s1, target))
    first = first_mask(low)
    cfg = TargetConfig(target_sparsity=max(high, 0.01), rounds=rounds, schedule=schedule)
    counts = [target_count(cfg, first, number) for number in range(1, rounds + 1)]
    assert counts == sorted(counts, reverse=True)
    assert masks.kept(first) >= counts[0]
    assert counts[-1] == TOTAL - round(max(high, 0.01) * TOTAL)


def test_geometric_rounds_remove_the_same_share_of_what_remains() -> None:
    cfg = TargetConfig(target_sparsity=0.875, rounds=3)
    assert [target_count(cfg, first_mask(0.0), n) for n in (1, 2, 3)] == [500, 250, 125]


def test_cubic_rounds_prune_early() -> None:
    cfg = TargetConfig(target_sparsity=0.8, rounds=2, schedule="cubic")
    assert [target_count(cfg, first_mask(0.0), n) for n in (1, 2)] == [300, 200]


def test_a_target_below_the_first_mask_is_refused_with_both_ways_out() -> None:
    with pytest.raises(StageInputError, match=r"raise the target .*sparsity_reference: relative"):
        target_count(TargetConfig(target_sparsity=0.3), first_mask(0.5), 1)
    assert target_count(TargetConfig(target_sparsity=0.5), first_mask(0.5), 1) == 500


Make = Callable[..., Candidates]


@pytest.fixture
def make(small: Dataset, ctx: Context, dense: Dense, half: KeepMask) -> Make:
    """The candidates of a short soup at 60 % inside `half`."""

    def run(seed: int = 0, given: Dataset = small, **changes: Any) -> Candidates:
        within = changes.pop("within", None)
        model = changes.pop("model", dense)
        ctx_ = changes.pop("ctx", ctx)
        settings = {
            "target_sparsity": 0.6,
            "ingredients": 3,
            "steps": 4,
            "lr": 1e-2,
            "batch_size": 16,
            "mask_data_fraction": 0.5,
        }
        cfg = DenoiseConfig.model_validate(settings | changes)
        first = OneShot(half, NOTHING)
        return denoise(cfg, ctx_, seed=seed, data=given, model=model, first=first, within=within)

    return run


def same(a: Candidates, b: Candidates) -> bool:
    masks_agree = all(
        torch.equal(x[name], y[name]) for x, y in zip(a.keeps, b.keeps, strict=True) for name in x
    )
    return masks_agree and a.losses == b.losses and a.jaccard == b.jaccard


def test_candidates_lie_inside_the_first_mask_and_have_the_exact_count(
    make: Make, half: KeepMask
) -> None:
    found = make()
    assert len(found.keeps) == len(found.losses) == len(found.jaccard) == 3
    for keep in found.keeps:
        assert masks.contains(half, keep)
        assert masks.kept(keep) == masks.keep_count(masks.size(half), 0.6)


def test_the_look_ahead_really_moves_the_masks(make: Make) -> None:
    found = make()
    assert max(found.jaccard) < 1
    assert min(found.jaccard) > 0.1
    assert len(set(found.losses)) == 3


def test_without_look_ahead_all_candidates_are_the_one_shot_mask(
    make: Make, dense: Dense, half: KeepMask
) -> None:
    found = make(steps=0)
    assert found.jaccard == (1.0, 1.0, 1.0)
    assert found.losses == (0.0, 0.0, 0.0)
    scores = {name: w.abs() for name, w in masks.prunable(dense.checkpoint.state).items()}
    one_shot = masks.top_k(scores, masks.keep_count(masks.size(half), 0.6), half)
    assert all(torch.equal(found.keeps[0][name], one_shot[name]) for name in one_shot)


def test_the_same_seed_gives_the_same_candidates_and_another_does_not(make: Make) -> None:
    first, again, other = make(), make(), make(seed=1)
    assert same(first, again)
    assert not same(first, other)


def test_more_ingredients_leave_the_first_ones_as_they_were(make: Make) -> None:
    assert make(ingredients=2).losses == make(ingredients=3).losses[:2]


def test_the_look_ahead_sees_only_the_fraction_of_the_data(make: Make, small: Dataset) -> None:
    chosen = fraction_indices(small.train.labels, 0.5, 0, "mask data")
    hidden = np.setdiff1d(np.arange(100), chosen)

    def without(which: Any) -> Dataset:
        images = small.train.images.copy()
        images[which] = 0
        return replace(small, train=Split(images, small.train.labels), _placed={})

    assert same(make(), make(given=without(hidden)))
    assert not same(make(), make(given=without(chosen)))


def test_mean_scores_and_weights_are_means_over_the_ingredients(make: Make) -> None:
    one, both = make(ingredients=1, mean_weights=True), make(mean_weights=True)
    assert one.mean_state is not None
    for name, score in one.mean_score.items():
        assert torch.equal(score, one.mean_state[name].abs())
    assert both.mean_state is not None
    for name, score in both.mean_score.items():
        assert bool((score + 1e-6 >= both.mean_state[name].abs()).all())
    assert make().mean_state is None


def test_ingredients_are_zero_outside_the_parent(make: Make, half: KeepMask) -> None:
    found = make(mean_weights=True)
    assert found.mean_state is not None
    for name, keep in half.items():
        assert not found.mean_score[name][~keep].any()
        assert not found.mean_state[name][~keep].any()


def test_the_start_is_not_changed(make: Make, dense: Dense) -> None:
    before = {name: tensor.clone() for name, tensor in dense.checkpoint.state.items()}
    make()
    assert all(torch.equal(dense.checkpoint.state[n], t) for n, t in before.items())


def test_a_later_round_prunes_inside_the_round_before(make: Make) -> None:
    between = OneShot(make(rounds=2).keeps[0], NOTHING)
    later = make(rounds=2, round=2, within=between)
    assert all(masks.contains(between.keep, keep) for keep in later.keeps)
    assert masks.kept(later.keeps[0]) < masks.kept(between.keep)


def test_a_later_round_may_find_less_left_than_its_count(make: Make, half: KeepMask) -> None:
    """`intersect_kept` and `majority` overshoot: the round before can be sparser than this."""
    draw = torch.Generator().manual_seed(0)
    noise = {name: torch.rand(keep.shape, generator=draw) for name, keep in half.items()}
    scarce = masks.top_k(noise, masks.keep_count(masks.size(half), 0.9), half)
    later = make(rounds=2, round=2, within=OneShot(scarce, NOTHING))
    assert all(torch.equal(later.keeps[0][name], scarce[name]) for name in scarce)


def test_a_diverging_look_ahead_names_the_ingredient(make: Make, dense: Dense) -> None:
    state = dense.checkpoint.state | {"head.bias": torch.full((10,), float("nan"))}
    broken = Pretrained(replace(dense.checkpoint, state=state))
    with pytest.raises(StageInputError, match=r"issp, ingredient 0: the training loss became nan"):
        make(model=broken)


def test_progress_is_told_after_every_ingredient(make: Make) -> None:
    told: list[Progress] = []
    make(ctx=Context(progress=told.append))
    assert told == [Progress("ingredient", n, 3) for n in (1, 2, 3)]


def test_a_fraction_below_a_tenth_is_refused() -> None:
    with pytest.raises(ValueError, match=r"greater than or equal to 0\.1"):
        DenoiseConfig(mask_data_fraction=0.05)
