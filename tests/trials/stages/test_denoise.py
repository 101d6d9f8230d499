from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.trials.helpers import NOTHING, same
from trials.context import Context, Progress
from trials.data.datasets import Dataset, Split, fraction_indices
from trials.errors import StageInputError
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.denoise import Candidates, DenoiseConfig, denoise
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

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


def test_an_ingredient_with_a_recipe_is_trained_by_that_and_nothing_else(make: Make) -> None:
    recipe = TrainConfig(lr=1e-2, batch_size=10, weight_decay=0.1, schedule="linear")
    own = {"recipe": recipe, "ingredients": 1}
    found = make(**own)
    assert same(found, make(**own, lr=1e-4, batch_size=50, weight_decay=1.0, spread=(1.0, 1.0)))
    assert not same(found, make(**own | {"recipe": recipe.model_copy(update={"lr": 3e-3})}))
    assert not same(found, make(**own | {"recipe": recipe.model_copy(update={"warmup_steps": 2})}))


def test_a_look_ahead_shorter_than_its_warm_up_hardly_moves_a_mask(make: Make) -> None:
    plain, warming, still = make(), make(look_ahead_warmup=500), make(steps=0)
    assert min(warming.jaccard) > 0.95 > min(plain.jaccard)
    moved = masks.pairwise_jaccard((plain.keeps[0], still.keeps[0]))[0]
    assert masks.pairwise_jaccard((warming.keeps[0], still.keeps[0]))[0] > moved


def test_without_look_ahead_all_candidates_are_the_one_shot_mask(
    make: Make, dense: Dense, half: KeepMask
) -> None:
    found = make(steps=0)
    assert found.jaccard == (1.0, 1.0, 1.0)
    assert found.losses == (0.0, 0.0, 0.0)
    scores = {name: w.abs() for name, w in masks.prunable(dense.checkpoint).items()}
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


def test_each_ingredient_has_its_level_in_turn_and_at_most_its_parent(
    make: Make, half: KeepMask
) -> None:
    found = make(ingredients=5, levels=[0.7, 0.4, 0.9])
    total = masks.size(half)
    counts = [masks.keep_count(total, level) for level in (0.7, 0.5, 0.9, 0.7, 0.5)]
    assert [masks.kept(keep) for keep in found.keeps] == counts, "0.4 asks for more than half keeps"


@pytest.mark.parametrize(
    ("steps", "images", "expected"), [("pass", 50, 4), (0, 50, 0), (7, 50, 7)], ids=str
)
def test_a_pass_is_one_pass_over_the_ingredients_data(
    make: Make, monkeypatch: pytest.MonkeyPatch, steps: Any, images: int, expected: int
) -> None:
    seen: list[tuple[int, int, TrainConfig]] = []

    def record(self: Trainer, count: int) -> float:
        assert self.subset is not None
        seen.append((count, len(self.subset), self.cfg))
        return 1.0

    monkeypatch.setattr(Trainer, "steps", record)
    make(steps=steps)
    assert [one[:2] for one in seen] == [(expected, images)] * 3


def test_the_look_ahead_has_no_warm_up_and_moves_at_once(
    make: Make, dense: Dense, half: KeepMask
) -> None:
    """A look-ahead shorter than its warm-up moves weights by 1e-5, and all masks agree."""
    assert DenoiseConfig.model_fields["look_ahead_warmup"].default == 0
    moved = make(ingredients=1, steps=1, spread=[1.0, 1.0], mean_weights=True).mean_state
    assert moved is not None
    for name, keep in half.items():
        change = (moved[name] - dense.checkpoint.state[name])[keep].abs()
        # AdamW's first step is lr * sign(gradient), whatever the gradient's size.
        assert float(change.median()) == pytest.approx(1e-2, rel=1e-2)


@pytest.mark.parametrize("subset", ["shared", "own"])
def test_ingredients_see_one_fraction_of_the_data_or_each_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch, small: Dataset, subset: str
) -> None:
    seen: list[tuple[int, ...]] = []

    def record(self: Trainer, count: int) -> float:
        assert self.subset is not None
        seen.append(tuple(self.subset.tolist()))
        return 1.0

    monkeypatch.setattr(Trainer, "steps", record)
    make(subset=subset, mask_data_fraction=0.3)
    assert len(set(seen)) == (1 if subset == "shared" else 3)
    for images in seen:
        assert len(set(images)) == 30
        assert np.bincount(small.train.labels[list(images)]).tolist() == [3] * 10
    first = list(seen)
    seen.clear()
    make(subset=subset, mask_data_fraction=0.3, rounds=2, round=2)
    assert (seen == first) == (subset == "shared"), "a later round draws again"


def test_a_round_that_starts_near_the_target_trains_nothing_and_proposes_its_parent(
    make: Make, dense: Dense, half: KeepMask
) -> None:
    told: list[Progress] = []
    near = make(stop_within=0.1, mean_weights=True, ctx=Context(progress=told.append))
    assert told == []
    assert len(near.keeps) == 1
    assert all(torch.equal(near.keeps[0][name], keep) for name, keep in half.items())
    assert near.mean_state is not None
    expected = masks.apply(dense.checkpoint.state, half)
    assert all(torch.equal(near.mean_state[name], tensor) for name, tensor in expected.items())
    assert len(make(stop_within=0.09).keeps) == 3


def test_an_impossible_target_is_refused_before_anything_is_trained(make: Make) -> None:
    told: list[Progress] = []
    with pytest.raises(StageInputError, match="nothing is left to prune"):
        make(target_sparsity=0.3, ctx=Context(progress=told.append))
    assert told == []
