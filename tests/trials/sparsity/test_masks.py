import math
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trials.helpers import same
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks, threshold
from trials.sparsity.masks import KeepMask

# Few different values, so that most draws have ties at the threshold.
SCORES = st.fixed_dictionaries(
    {
        "blocks.0.attn.qkv.weight": npst.arrays(
            np.float32, npst.array_shapes(min_dims=2, max_dims=2), elements=st.integers(-2, 2)
        ),
        "blocks.0.mlp.fc1.weight": npst.arrays(
            np.float32, npst.array_shapes(min_dims=2, max_dims=2), elements=st.integers(-2, 2)
        ),
    }
).map(lambda arrays: {name: torch.from_numpy(array) for name, array in arrays.items()})
FRACTION = st.floats(0, 1, exclude_max=True)


def magnitude(weights: dict[str, Tensor], level: float) -> KeepMask:
    scores = {name: w.abs() for name, w in weights.items()}
    return masks.top_k(scores, masks.keep_count(masks.size(weights), level))


def by_sorting(scores: dict[str, Tensor], count: int) -> KeepMask:
    flat = torch.cat([s.flatten() for s in scores.values()])
    order = torch.sort(flat, descending=True, stable=True).indices
    keep = torch.zeros_like(flat, dtype=torch.bool)
    keep[order[:count]] = True
    pieces = keep.split([s.numel() for s in scores.values()])
    return {n: p.view(s.shape) for (n, s), p in zip(scores.items(), pieces, strict=True)}


@given(SCORES, FRACTION)
def test_top_k_equals_a_stable_descending_sort(scores: dict[str, Tensor], level: float) -> None:
    count = round(level * masks.size(scores))
    assert same(masks.top_k(scores, count), by_sorting(scores, count))


@given(
    st.lists(
        npst.arrays(
            st.sampled_from([np.float16, np.float32, np.float64]),
            npst.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=st.floats(allow_nan=False, width=16),
        ),
        min_size=1,
        max_size=3,
    ),
    FRACTION,
    st.integers(1, 40),
)
def test_top_k_sorts_floats_of_every_kind_in_parts_of_any_size(
    arrays: list[np.ndarray], level: float, part: int
) -> None:
    """Infinite ones, both zeros, the smallest there are, types mixed."""
    scores = {f"blocks.{i}": torch.from_numpy(array) for i, array in enumerate(arrays)}
    count = round(level * masks.size(scores))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threshold, "CHUNK", part)
        assert same(masks.top_k(scores, count), by_sorting(scores, count))


class Made(TorchDispatchMode):
    """Every tensor that is made in the block: its type and its bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[torch.dtype, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **kwargs or {})
        if isinstance(found, Tensor) and not func.is_view:
            self.made.append((found.dtype, found.nbytes))
        return found


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_top_k_makes_no_number_for_every_weight(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask, a byte a weight, and the numbers of one part; other ways took 30 bytes a weight."""
    monkeypatch.setattr(threshold, "CHUNK", 1 << 16)
    scores = {f"blocks.{i}": torch.rand(2**20, dtype=kind) for i in range(3)}
    with Made() as seen:
        masks.top_k(scores, 2**21, masks.ones_like(scores))
    numbers = [size for dtype, size in seen.made if dtype != torch.bool]
    assert max(numbers) <= 8 * (1 << 16)
    assert max(size for _, size in seen.made) == 2**20


@given(SCORES, st.integers(0, 99), FRACTION, FRACTION)
def test_top_k_keeps_exactly_the_count_and_only_inside_the_parent(
    scores: dict[str, Tensor], seed: int, parent_level: float, level: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    parent = magnitude(
        {n: torch.rand(s.shape, generator=draw) for n, s in scores.items()}, parent_level
    )
    count = round(level * masks.kept(parent))
    keep = masks.top_k(scores, count, parent)
    assert masks.kept(keep) == count
    assert masks.contains(parent, keep)
    lowest_kept = min((float(scores[n][keep[n]].min()) for n in keep if keep[n].any()), default=9)
    left_out = {n: parent[n] & ~keep[n] for n in keep}
    best_left = max(
        (float(scores[n][left_out[n]].max()) for n in keep if left_out[n].any()), default=-9
    )
    assert best_left <= lowest_kept


@pytest.mark.parametrize("count", [0, 1, 99, 100])
def test_top_k_keeps_exactly_the_count_when_all_scores_are_equal(count: int) -> None:
    keep = masks.top_k({"w": torch.ones(10, 10)}, count)["w"].flatten()
    assert keep.tolist() == [True] * count + [False] * (100 - count)


@given(SCORES, FRACTION, FRACTION)
def test_magnitude_masks_of_the_same_weights_nest(
    weights: dict[str, Tensor], a: float, b: float
) -> None:
    assert masks.contains(magnitude(weights, min(a, b)), magnitude(weights, max(a, b)))


@given(SCORES, FRACTION, FRACTION)
def test_two_absolute_steps_on_fixed_weights_equal_one_step(
    weights: dict[str, Tensor], a: float, b: float
) -> None:
    low, high = min(a, b), max(a, b)
    first = magnitude(weights, low)
    scores = {name: w.abs() for name, w in masks.apply(weights, first).items()}
    second = masks.top_k(scores, masks.keep_count(masks.size(weights), high), first)
    assert same(second, magnitude(weights, high))


@pytest.mark.parametrize(("level", "kept"), [(0, 100), (0.2, 80), (0.005, 100), (0.999, 0)])
def test_keep_count_rounds_the_removed_weights(level: float, kept: int) -> None:
    assert masks.keep_count(100, level) == kept


@pytest.mark.parametrize("level", [-0.1, 1.0, 90, math.nan])
def test_a_sparsity_that_is_no_fraction_is_refused(level: float) -> None:
    with pytest.raises(StageInputError, match=r"0\.9 for 90 %"):
        masks.keep_count(100, level)


def test_keeping_more_than_the_parent_does_is_refused_with_the_way_out() -> None:
    parent = {"w": torch.tensor([True, False, False])}
    with pytest.raises(StageInputError, match=r"keep 2 of 1 .*issp\.target_sparsity"):
        masks.top_k({"w": torch.ones(3)}, 2, parent)


def test_nan_scores_are_refused_by_name() -> None:
    scores = {"fine": torch.ones(2), "broken": torch.tensor([1.0, math.nan])}
    with pytest.raises(StageInputError, match=r"\['broken'\] hold NaN"):
        masks.top_k(scores, 1)


def random_masks(count: int, level: float) -> list[KeepMask]:
    draw = torch.Generator().manual_seed(count)
    return [
        magnitude(
            {"a": torch.randn(9, 7, generator=draw), "b": torch.randn(5, generator=draw)}, level
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_union_is_the_least_and_intersection_the_most_sparse(count: int) -> None:
    made = random_masks(count, 0.4)
    low, high = masks.union(made), masks.intersection(made)
    assert masks.sparsity(low) <= masks.sparsity(made[0]) <= masks.sparsity(high)
    assert all(masks.contains(low, keep) and masks.contains(keep, high) for keep in made)


def test_intersection_of_kept_is_the_complement_of_the_union_of_pruned() -> None:
    made = random_masks(3, 0.4)
    pruned = masks.union([{n: ~keep[n] for n in keep} for keep in made])
    assert same(masks.intersection(made), {n: ~pruned[n] for n in pruned})


def test_the_same_weights_at_several_levels_unite_to_the_lowest_level() -> None:
    weights = {"w": torch.randn(50, 20, generator=torch.Generator().manual_seed(0))}
    made = [magnitude(weights, level) for level in (0.4, 0.5, 0.6, 0.7)]
    assert masks.sparsity(masks.union(made)) == pytest.approx(0.4)
    assert masks.sparsity(masks.intersection(made)) == pytest.approx(0.7)


def test_votes_count_the_masks_that_keep_a_weight() -> None:
    made = [{"w": torch.tensor(row)} for row in ([True, True, False], [True, False, False])]
    assert masks.votes(made)["w"].tolist() == [2, 1, 0]


def test_jaccard_is_overlap_over_union() -> None:
    a, b = ({"w": torch.tensor(row)} for row in ([True, True, False], [False, True, True]))
    nothing = {"w": torch.zeros(3, dtype=torch.bool)}
    assert masks.jaccard(a, b) == 1 / 3
    assert masks.jaccard(a, a) == 1
    assert masks.jaccard(nothing, nothing) == 1
    assert masks.pairwise_jaccard([a, b, a]) == (1 / 3, 1.0, 1 / 3)


@pytest.mark.parametrize(
    "other",
    [{"v": torch.ones(3, dtype=torch.bool)}, {"w": torch.ones(4, dtype=torch.bool)}],
    ids=["name", "shape"],
)
def test_masks_of_different_models_are_refused(other: KeepMask) -> None:
    mine = {"w": torch.ones(3, dtype=torch.bool)}
    for operation in (masks.union, masks.intersection, masks.votes, masks.pairwise_jaccard):
        with pytest.raises(StageInputError, match="one dense model"):
            operation([mine, other])
    with pytest.raises(StageInputError, match="no masks"):
        masks.union([])


def test_masking_sets_exactly_zero_and_touches_nothing_else(
    checkpoint: Checkpoint, half: KeepMask
) -> None:
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    pruned = masks.apply(state, half)
    for name, tensor in pruned.items():
        kept = half.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor[kept], state[name][kept])
        assert not tensor[~kept].any()
        assert not tensor[~kept].signbit().any(), "a masked weight is -0.0"
        assert tensor.data_ptr() != state[name].data_ptr()
    assert pruned.keys() == state.keys()


def test_a_mask_of_another_model_cannot_be_applied() -> None:
    with pytest.raises(StageInputError, match="which the model does not have"):
        masks.apply({"w": torch.ones(2)}, {"v": torch.ones(2, dtype=torch.bool)})


def test_masking_a_checkpoint_leaves_the_original_alone(
    checkpoint: Checkpoint, half: KeepMask, cpu: torch.device
) -> None:
    before = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    pruned = masks.masked(checkpoint, half)
    assert all(torch.equal(checkpoint.state[n], t) for n, t in before.items())
    named = dict(Model.of(pruned, cpu).module.named_parameters())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in named.values())
    assert not any(named[n][~keep].any() for n, keep in half.items())


def test_only_the_linear_weights_of_the_blocks_are_prunable(checkpoint: Checkpoint) -> None:
    assert list(masks.prunable(checkpoint)) == [
        f"blocks.{block}.{layer}.weight"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]


def test_sparsity_counts_weights_not_layers() -> None:
    mask = {"a": torch.zeros(1, dtype=torch.bool), "b": torch.ones(3, dtype=torch.bool)}
    assert (masks.size(mask), masks.kept(mask), masks.sparsity(mask)) == (4, 3, 0.25)
    assert masks.per_layer_sparsity(mask) == {"a": 1.0, "b": 0.0}
    assert masks.sparsity(masks.ones_like(mask)) == 0
