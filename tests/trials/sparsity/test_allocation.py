import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from trials.errors import StageInputError
from trials.sparsity import masks
from trials.sparsity.allocation import (
    Pattern,
    fits_pattern,
    keep_mask,
    n_of_m,
    pattern_sparsity,
    tensor_counts,
)

SHAPES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6)


def empty(shapes: list[tuple[int, int]]) -> dict[str, Tensor]:
    return {f"w{i}": torch.empty(shape) for i, shape in enumerate(shapes)}


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@given(SHAPES, st.floats(0, 1), st.sampled_from(["layer", "erk"]))
def test_the_counts_of_the_tensors_add_up_and_fit(
    shapes: list[tuple[int, int]], share: float, allocation: str
) -> None:
    tensors = empty(shapes)
    count = round(share * masks.size(tensors))
    counts = tensor_counts(tensors, count, allocation)  # type: ignore[arg-type]
    assert sum(counts.values()) == count
    assert all(0 <= counts[name] <= tensors[name].numel() for name in tensors)


@given(SHAPES, st.floats(0, 1))
def test_layers_are_equally_dense_to_the_weight(
    shapes: list[tuple[int, int]], share: float
) -> None:
    tensors = empty(shapes)
    total = masks.size(tensors)
    count = round(share * total)
    for name, found in tensor_counts(tensors, count, "layer").items():
        assert abs(found - count * tensors[name].numel() / total) < 1


@given(SHAPES, st.floats(0, 1))
def test_erk_densities_are_in_proportion_unless_a_tensor_is_full(
    shapes: list[tuple[int, int]], share: float
) -> None:
    tensors = empty(shapes)
    counts = tensor_counts(tensors, round(share * masks.size(tensors)), "erk")
    free = [n for n, t in tensors.items() if counts[n] < t.numel() - 1]
    # One factor on in + out for all that are not full, and no smaller one for a full tensor.
    for a, b in itertools.combinations(free, 2):
        side_a, side_b = sum(tensors[a].shape), sum(tensors[b].shape)
        assert abs(counts[a] * side_b - counts[b] * side_a) <= side_a + side_b
    for full in tensors.keys() - set(free):
        for other in free:
            factor = (counts[other] - 1) / sum(tensors[other].shape)
            assert (counts[full] + 1) / sum(tensors[full].shape) >= min(
                factor, tensors[full].numel() / sum(tensors[full].shape)
            )


def test_what_a_full_tensor_cannot_take_the_others_do() -> None:
    tensors = empty([(2, 2), (30, 30), (30, 60)])
    # In proportion 4 : 60 : 90 the first would get 26 of 1000; it has 4.
    assert tensor_counts(tensors, 1000, "erk") == {"w0": 4, "w1": 398, "w2": 598}


def test_more_weights_than_there_are_cannot_be_kept() -> None:
    for allocation in ("global", "layer", "erk"):
        with pytest.raises(StageInputError, match="cannot keep 10 of 9"):
            keep_mask({"w": numbers(3, 3)}, 10, allocation)  # type: ignore[arg-type]


def test_inside_a_tensor_the_highest_scores_survive() -> None:
    scores = {"a": numbers(10, 10), "b": 100 + numbers(5, 20)}
    keep = keep_mask(scores, 60, "layer")
    for name, score in scores.items():
        assert int(keep[name].sum()) == 30
        assert score[keep[name]].min() > score[~keep[name]].max()
    assert not keep_mask(scores, 60, "global")["a"].any()


@pytest.mark.parametrize("pattern", ["1:2", "2:4", "3:4", "1:4", "4:8", "5:16"])
def test_a_group_keeps_its_n_highest_scores(pattern: str) -> None:
    n, m = (int(part) for part in pattern.split(":"))
    score = numbers(6, 48)
    keep = n_of_m({"w": score}, pattern)["w"]
    for row, group in itertools.product(range(6), range(48 // m)):
        part = slice(group * m, group * m + m)
        best = sorted(score[row, part].tolist(), reverse=True)[:n]
        assert sorted(score[row, part][keep[row, part]].tolist(), reverse=True) == best
    assert masks.sparsity({"w": keep}) == pytest.approx(pattern_sparsity(pattern))


def test_ties_in_a_group_go_to_the_earlier_weight() -> None:
    keep = n_of_m({"w": torch.ones(2, 8)}, "2:4")["w"]
    assert keep.tolist() == [[True, True, False, False] * 2] * 2


def test_patterns_of_one_group_size_nest() -> None:
    scores = {"w": numbers(6, 48)}
    made = [n_of_m(scores, f"{n}:8") for n in (7, 5, 4, 1)]
    assert all(masks.contains(a, b) for a, b in itertools.pairwise(made))


def test_rows_that_do_not_divide_are_refused_by_name() -> None:
    scores = {"blocks.0.mlp.fc1.weight": numbers(4, 8), "blocks.0.mlp.fc2.weight": numbers(4, 12)}
    with pytest.raises(StageInputError, match=r"fc2\.weight has 12 inputs.* groups of 8"):
        n_of_m(scores, "2:8")


def test_scores_that_are_no_numbers_are_refused() -> None:
    broken = {"w": torch.full((4, 4), torch.nan)}
    for make in (lambda: n_of_m(broken, "2:4"), lambda: keep_mask(broken, 3, "layer")):
        with pytest.raises(StageInputError, match=r"\['w'\] hold NaN"):
            make()


PATTERN: TypeAdapter[str] = TypeAdapter(Pattern)


@pytest.mark.parametrize("pattern", ["unstructured", "1:2", "2:4", "4:8", "63:64"])
def test_patterns_that_are_known(pattern: str) -> None:
    assert PATTERN.validate_python(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    ["", "0:4", "4:4", "5:4", "1:65", "2/4", "2:4 ", "02:4", "2:4:8", "-1:4", "٢:٤", "N:M"],
)
def test_other_patterns_are_refused_with_what_may_stand_there(pattern: str) -> None:
    with pytest.raises(ValidationError, match="1 <= N < M <= 64"):
        PATTERN.validate_python(pattern)


def test_a_pattern_that_yaml_made_a_number_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match='pattern: "2:4"'):
        PATTERN.validate_python(2 * 60 + 4)


def test_a_level_fits_a_pattern_to_three_decimals() -> None:
    assert fits_pattern(0.5, "2:4")
    assert fits_pattern(0.667, "1:3")
    assert not fits_pattern(0.66, "1:3")
    assert not fits_pattern(0.5, "1:4")
