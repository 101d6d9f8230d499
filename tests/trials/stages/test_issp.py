from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trials.helpers import NOTHING, same
from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.denoise import Candidates
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.issp import (
    EXACT,
    MERGES,
    IsspConfig,
    Merging,
    issp,
    merged_mask,
    union_kept,
    vote_topk,
)
from trials.stages.pretrained import Pretrained
from trials.training.evaluation import evaluate

SHAPES = {"a": (20, 10), "b": (5, 40)}
TOTAL = 400


def weights(seed: int, coarse: bool = False) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}
    # Coarse: a handful of values, so that nearly every choice is a tie.
    return {n: w.round() if coarse else w for n, w in made.items()}


def soup(
    count: int, keep: int, noise: float, seed: int = 0, coarse: bool = False
) -> tuple[Candidates, KeepMask]:
    """Masks of noisy copies of one set of weights, inside its mask at 30 %."""
    base = weights(seed, coarse)
    parent = masks.top_k({n: w.abs() for n, w in base.items()}, 280)
    scores = []
    for i in range(count):
        other = weights(1000 + i, coarse)
        scores.append({n: (w + noise * other[n]).abs() for n, w in base.items()})
    mean = {n: torch.stack([s[n] for s in scores]).mean(0) for n in base}
    keeps = tuple(masks.top_k(s, keep, parent) for s in scores)
    return Candidates(keeps, mean, None, (0.0,) * count, masks.pairwise_jaccard(keeps)), parent


def merging(candidates: Candidates, count: int, parent: KeepMask) -> Merging:
    """What a merge is given; theta are the mean scores, so that ties are the same ties."""
    return Merging(candidates, candidates.mean_score, count, parent)


SOUPS = st.builds(
    soup,
    st.integers(1, 6),
    st.just(200),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 50),
    st.booleans(),
)


@pytest.mark.slow
@pytest.mark.parametrize("merge", MERGES)
@given(SOUPS)
def test_every_merge_stays_inside_the_first_mask(
    merge: str, made: tuple[Candidates, KeepMask]
) -> None:
    candidates, parent = made
    assert masks.contains(parent, MERGES[merge](merging(candidates, 200, parent)))


@given(SOUPS)
def test_the_vote_lies_between_the_intersection_and_the_union(
    made: tuple[Candidates, KeepMask],
) -> None:
    candidates, parent = made
    merged = vote_topk(merging(candidates, 200, parent))
    assert masks.contains(merged, masks.intersection(candidates.keeps))
    assert masks.contains(masks.union(candidates.keeps), merged)


@pytest.mark.slow
@pytest.mark.parametrize("merge", sorted(EXACT))
@given(SOUPS)
def test_exact_merges_keep_exactly_the_target(
    merge: str, made: tuple[Candidates, KeepMask]
) -> None:
    candidates, parent = made
    assert masks.kept(MERGES[merge](merging(candidates, 200, parent))) == 200


def test_union_is_below_and_intersection_above_the_nominal_sparsity() -> None:
    candidates, parent = soup(5, 200, noise=0.5)
    found = {
        name: masks.sparsity(MERGES[name](merging(candidates, 200, parent)))
        for name in ("union_kept", "majority", "intersect_kept", "union_pruned")
    }
    assert found["union_kept"] < 0.5 < found["intersect_kept"] == found["union_pruned"]
    assert found["union_kept"] < found["majority"] < found["intersect_kept"]


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_identical_ingredients_give_that_ingredients_mask(
    merge: str, coarse: bool, count: int
) -> None:
    candidates, parent = soup(count, 200, noise=0.0, coarse=coarse)
    assert same(MERGES[merge](merging(candidates, 200, parent)), candidates.keeps[0])


@pytest.mark.parametrize("seed", range(5))
def test_a_seeded_union_trimmed_by_the_old_weights_is_plain_one_shot(seed: int) -> None:
    base = weights(seed)
    scores = {name: w.abs() for name, w in base.items()}
    candidates, parent = soup(5, 200, noise=0.5, seed=seed)
    one_shot = masks.top_k(scores, 200)
    seeded = masks.union([one_shot, *candidates.keeps])
    assert masks.kept(seeded) > 200
    assert same(masks.top_k(scores, 200, seeded), one_shot)
    assert not same(vote_topk(merging(candidates, 200, parent)), one_shot), (
        "the vote must not be a no-op"
    )


def test_equal_votes_go_to_the_larger_mean_weight() -> None:
    keeps = tuple({"w": torch.tensor(row)} for row in ([True, True, False], [True, False, True]))
    everything = {"w": torch.ones(3, dtype=torch.bool)}
    for mean, kept in (([0.1, 0.2, 0.3], [0, 2]), ([0.1, 0.3, 0.2], [0, 1])):
        candidates = Candidates(keeps, {"w": torch.tensor(mean)}, None, (0, 0), (0,))
        assert vote_topk(merging(candidates, 2, everything))["w"].nonzero()[:, 0].tolist() == kept


def test_one_vote_outweighs_any_weight() -> None:
    keeps = tuple({"w": torch.tensor(row)} for row in ([True, False], [True, False], [False, True]))
    candidates = Candidates(keeps, {"w": torch.tensor([1e-6, 1e6])}, None, (0,) * 3, (0,) * 3)
    everything = {"w": torch.ones(2, dtype=torch.bool)}
    assert vote_topk(merging(candidates, 1, everything))["w"].tolist() == [True, False]


def test_a_model_whose_weights_are_all_zero_can_be_merged() -> None:
    keep = {"w": torch.tensor([True, False])}
    candidates = Candidates((keep,), {"w": torch.zeros(2)}, None, (0.0,), ())
    assert same(vote_topk(merging(candidates, 1, masks.ones_like(keep))), keep)


@pytest.mark.parametrize("start", ["current", "rewind", "ingredient_mean"])
def test_the_merged_model_has_the_chosen_weights_under_the_mask(
    start: str,
    small: Dataset,
    ctx: Context,
    pretrained: Pretrained,
    dense: Dense,
    half: KeepMask,
    make_checkpoint: Callable[..., Checkpoint],
    cpu: torch.device,
) -> None:
    state = dense.checkpoint.state
    scores = {name: w.abs() for name, w in masks.prunable(dense.checkpoint).items()}
    keep = masks.top_k(scores, masks.keep_count(masks.size(half), 0.7), half)
    candidates = Candidates((keep,), scores, make_checkpoint(seed=2).state, (0.0,), ())
    found = issp(
        IsspConfig(target_sparsity=0.7, weights=start),  # type: ignore[arg-type]
        ctx,
        data=small,
        model=dense,
        rewind=pretrained,
        first=OneShot(half, NOTHING),
        within=None,
        candidates=candidates,
    )
    chosen = {
        "current": state,
        "rewind": pretrained.checkpoint.state,
        "ingredient_mean": make_checkpoint(seed=2).state,
    }[start]
    assert same(found.keep, keep)
    expected = masks.apply(chosen, keep)
    assert all(torch.equal(found.checkpoint.state[n], t) for n, t in expected.items())
    own = Model.of(found.checkpoint, cpu)
    assert found.validation.loss == evaluate(own, small, "validation", ctx).loss


def test_a_later_round_merges_inside_the_round_before(
    small: Dataset, ctx: Context, pretrained: Pretrained, dense: Dense, half: KeepMask
) -> None:
    draw = torch.Generator().manual_seed(0)
    noise = {name: torch.rand(keep.shape, generator=draw) for name, keep in half.items()}
    before = masks.top_k(noise, masks.keep_count(masks.size(half), 0.6), half)
    everything = masks.ones_like(half)
    found = issp(
        IsspConfig(target_sparsity=0.7, merge="mean_score_topk", rounds=2, round=2),
        ctx,
        data=small,
        model=dense,
        rewind=pretrained,
        first=OneShot(half, NOTHING),
        within=OneShot(before, NOTHING),
        candidates=Candidates((everything,), noise, None, (0.0,), ()),
    )
    assert masks.contains(before, found.keep)
    assert masks.kept(found.keep) == masks.keep_count(masks.size(half), 0.7)


def test_union_kept_ignores_the_count() -> None:
    candidates, parent = soup(2, 200, noise=0.5)
    assert same(union_kept(merging(candidates, 1, parent)), masks.union(candidates.keeps))


def test_every_merge_that_a_sweep_file_may_name_is_there() -> None:
    assert set(get_args(IsspConfig.model_fields["merge"].annotation)) == MERGES.keys() > EXACT


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("coarse", [False, True])
def test_isp_literal_is_plain_one_shot_whatever_the_ingredients_say(
    seed: int, coarse: bool
) -> None:
    theta = {name: w.abs() for name, w in weights(seed, coarse).items()}
    candidates, parent = soup(5, 200, noise=1.0, seed=seed, coarse=coarse)
    found = MERGES["isp_literal"](Merging(candidates, theta, 200, parent))
    assert same(found, masks.top_k(theta, 200, parent))
    assert not same(found, candidates.keeps[0])


def test_a_vote_that_would_leave_the_union_is_refused() -> None:
    candidates, parent = soup(2, 100, noise=0.0)
    with pytest.raises(StageInputError, match=r"asked for 101 .*together keep 100"):
        vote_topk(merging(candidates, 101, parent))


@pytest.mark.parametrize("merge", ["vote_topk", "union_kept", "intersect_kept", "isp_literal"])
def test_a_stopped_round_passes_its_parent_on_and_the_last_may_trim_it(merge: str) -> None:
    candidates, parent = soup(3, 200, noise=0.5)
    theta = {name: w.abs() for name, w in weights(7).items()}
    settings = {"merge": merge, "target_sparsity": 0.5, "rounds": 2, "stop_within": 0.3}

    def ends(**changes: object) -> KeepMask:
        cfg = IsspConfig.model_validate(settings | changes)
        return merged_mask(cfg, theta, masks.ones_like(parent), parent, candidates)

    assert same(ends(), parent)
    assert same(ends(final_trim=True), parent), "round 1 of 2 is not the last"
    assert same(ends(final_trim=True, round=2), masks.top_k(theta, 200, parent))
    assert not same(ends(stop_within=0.0, round=2), parent)


def test_a_trim_adds_nothing_to_a_mask_that_is_sparser_than_the_target() -> None:
    candidates, parent = soup(5, 200, noise=1.0)
    cfg = IsspConfig(merge="intersect_kept", target_sparsity=0.5, final_trim=True)
    both = masks.intersection(candidates.keeps)
    theta = {name: w.abs() for name, w in weights(0).items()}
    assert masks.kept(both) < 200
    assert same(merged_mask(cfg, theta, parent, parent, candidates), both)
