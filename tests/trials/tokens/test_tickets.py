import math
from fractions import Fraction

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trials.errors import StageInputError
from trials.tokens import tickets
from trials.tokens.tickets import PAD, Score, Sink

SCORES = npst.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.integers(0, 5)
).map(torch.from_numpy)


def attention(heads: int = 3, tokens: int = 10, batch: int = 2, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, heads, tokens, tokens, generator=draw, dtype=torch.float64)
    return logits.softmax(-1)


@pytest.mark.parametrize("patches", [*range(1, 65), 196, 256, 576, 1024])
def test_kept_patches_are_the_fraction_rounded_up(patches: int) -> None:
    exact = [math.ceil((1 - Fraction(percent, 100)) * patches) for percent in range(100)]
    assert [tickets.keep_count(patches, percent / 100) for percent in range(100)] == exact


@pytest.mark.parametrize(
    ("patches", "drop", "kept"),
    [(196, 0.1, 177), (10, 0.8, 2), (10, 0.7, 3), (196, 0, 196), (16, 0.999, 1), (10, 0.1, 9)],
)
def test_kept_patches_of_known_examples(patches: int, drop: float, kept: int) -> None:
    assert tickets.keep_count(patches, drop) == kept


@pytest.mark.parametrize("drop", [-0.1, 1.0, 10])
def test_a_patch_drop_that_is_no_fraction_is_refused(drop: float) -> None:
    with pytest.raises(StageInputError, match=r"not in \[0, 1\)"):
        tickets.keep_count(16, drop)


@given(SCORES, st.data(), st.booleans())
def test_tickets_are_unique_ascending_in_range_and_of_equal_count(
    scores: Tensor, data: st.DataObject, lowest: bool
) -> None:
    count = data.draw(st.integers(1, scores.shape[1]))
    kept = tickets.indices(tickets.select_patches(scores, count, lowest=lowest))
    assert kept.shape == (len(scores), count)
    assert bool((kept.diff(dim=1) > 0).all())
    assert kept.min() >= 0
    assert kept.max() < scores.shape[1]


@given(SCORES, st.data())
def test_tickets_nest_in_the_count(scores: Tensor, data: st.DataObject) -> None:
    big = data.draw(st.integers(1, scores.shape[1]))
    little = data.draw(st.integers(1, big))
    inner, outer = (tickets.select_patches(scores, count) for count in (little, big))
    assert bool((outer | ~inner).all())


@given(SCORES, st.data())
def test_no_dropped_patch_has_a_higher_score_and_ties_go_to_the_earlier_one(
    scores: Tensor, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, scores.shape[1]))
    for row, keep in zip(scores, tickets.select_patches(scores, count), strict=True):
        worth = [(-float(score), place) for place, score in enumerate(row)]
        assert {place for _, place in sorted(worth)[:count]} == set(keep.nonzero()[:, 0].tolist())


def test_the_lowest_control_is_what_the_ticket_drops() -> None:
    scores = torch.rand(5, 16, generator=torch.Generator().manual_seed(0))
    best = tickets.select_patches(scores, 10)
    assert torch.equal(tickets.select_patches(scores, 6, lowest=True), ~best)


@pytest.mark.parametrize("count", [0, 17])
def test_an_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(StageInputError, match=f"cannot keep {count} of 16"):
        tickets.select_patches(torch.rand(2, 16), count)


def test_nan_scores_are_refused() -> None:
    with pytest.raises(StageInputError, match="NaN"):
        tickets.select_patches(torch.full((1, 4), math.nan), 2)


def test_random_patches_are_equal_in_number_and_follow_from_the_generator() -> None:
    first, again = (
        tickets.random_patches(50, 16, 5, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert first.sum(1).tolist() == [5] * 50
    assert len(first.unique(dim=0)) > 40
    assert bool(first.any(0).all())


@given(SCORES.filter(lambda s: s.shape[1] % 4 == 0), st.data())
def test_flipping_twice_gives_the_ticket_back(scores: Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, scores.shape[1]))
    kept = tickets.indices(tickets.select_patches(scores, count))
    flipped = tickets.flip(kept, 4)
    assert bool((flipped.diff(dim=1) > 0).all())
    assert torch.equal(tickets.flip(flipped, 4), kept)


def test_the_ticket_of_a_mirrored_image_is_the_mirrored_ticket() -> None:
    scores = torch.rand(6, 3, 5, generator=torch.Generator().manual_seed(0))
    kept = tickets.indices(tickets.select_patches(scores.flatten(1), 7))
    mirrored = tickets.indices(tickets.select_patches(scores.flip(-1).flatten(1), 7))
    assert torch.equal(tickets.flip(kept, columns=5), mirrored)
    assert not torch.equal(kept, mirrored)


def test_a_mirrored_ticket_shows_the_mirrored_pixels() -> None:
    image = torch.arange(64).view(8, 8)
    patches = lambda of: of.unfold(0, 2, 2).unfold(1, 2, 2).reshape(16, 2, 2)  # noqa: E731
    kept = torch.tensor([[0, 1, 6, 15]])
    seen = {tuple(p.flip(-1).flatten().tolist()) for p in patches(image)[kept[0]]}
    flipped = patches(image.flip(-1))[tickets.flip(kept, 4)[0]]
    assert {tuple(p.flatten().tolist()) for p in flipped} == seen


@pytest.mark.parametrize("prefix", [0, 1, 4])
@pytest.mark.parametrize("sink", ["none", "cls_mean", "outlier_mean"])
def test_attention_rows_sum_to_one_before_and_after_the_sink_fix(sink: Sink, prefix: int) -> None:
    attn = attention(tokens=20)
    fixed = tickets.fix_sink(attn, sink, prefix)
    for rows in (attn, fixed):
        torch.testing.assert_close(rows.sum(-1), torch.ones(2, 3, 20, dtype=torch.float64))
    assert bool((fixed > 0).all())


def test_cls_mean_keeps_the_ranking_of_the_patches_in_every_row() -> None:
    attn = attention()
    fixed = tickets.fix_sink(attn, "cls_mean")
    assert not torch.equal(fixed, attn)
    assert torch.equal(fixed[..., 1:].argsort(-1), attn[..., 1:].argsort(-1))


@pytest.mark.parametrize("seed", range(3))
def test_cls_mean_after_the_head_mean_keeps_the_ticket(seed: int) -> None:
    mean = attention(heads=4, seed=seed).mean(1, keepdim=True)
    plain, fixed = (
        tickets.patch_scores([mean], "cls", sink, 1, class_token=True)
        for sink in ("none", "cls_mean")
    )
    assert torch.equal(tickets.select_patches(plain, 4), tickets.select_patches(fixed, 4))


def test_cls_mean_gives_the_first_token_the_mean_of_the_others() -> None:
    fixed = tickets.fix_sink(torch.tensor([[0.7, 0.1, 0.2]]), "cls_mean")
    torch.testing.assert_close(fixed, torch.tensor([[0.15, 0.1, 0.2]]) / 0.45)


def test_cls_mean_leaves_a_model_without_a_class_token_alone() -> None:
    attn = attention()
    assert torch.equal(tickets.fix_sink(attn, "cls_mean", prefix=0), attn)


def test_outlier_mean_flattens_an_outlier_patch_and_nothing_else() -> None:
    row = torch.full((1, 41), 0.01)
    row[0, 7], row[0, 0] = 0.5, 0.1
    row = row / row.sum()
    fixed = tickets.fix_sink(row, "outlier_mean")
    assert tickets.fix_sink(row, "none") is row
    assert fixed[0, 7] / fixed[0, 8] == pytest.approx(float(row[0, 1:].mean() / row[0, 8]))
    assert fixed[0, 0] / fixed[0, 8] == pytest.approx(float(row[0, 0] / row[0, 8]))


@pytest.mark.parametrize("prefix", [1, 3])
@pytest.mark.parametrize("sink", ["none", "cls_mean", "outlier_mean"])
@pytest.mark.parametrize("score", ["cls", "rollout", "received"])
def test_every_score_is_a_share_of_attention_for_each_patch(
    score: Score, sink: Sink, prefix: int
) -> None:
    scores = tickets.patch_scores([attention().float()] * 2, score, sink, prefix, class_token=True)
    assert scores.shape == (2, 10 - prefix)
    assert scores.dtype == torch.float32
    assert bool((scores >= 0).all())
    assert bool((scores.sum(1) <= 1 + 1e-6).all())


def test_cls_score_is_the_class_tokens_row_averaged_over_heads() -> None:
    attn = attention()
    by_hand = attn[:, :, 0, 1:].mean(1)
    assert torch.equal(
        tickets.patch_scores([attention(seed=5), attn], "cls", "none", 1, class_token=True), by_hand
    )


def test_received_score_is_the_mean_over_the_query_patches() -> None:
    attn = attention()
    scores = tickets.patch_scores([attn], "received", "none", 0, class_token=False)
    torch.testing.assert_close(scores, attn.mean((1, 2)))
    torch.testing.assert_close(scores.sum(1), torch.ones(2, dtype=torch.float64))


def test_rollout_multiplies_the_blocks_from_the_first_to_the_last() -> None:
    first, last = attention(seed=1).float(), attention(seed=2).float()
    half = [(attn.mean(1) + torch.eye(10)) / 2 for attn in (first, last)]
    rolled = tickets.patch_scores([first, last], "rollout", "none", 1, class_token=True)
    torch.testing.assert_close(rolled, (half[1] @ half[0])[:, 0, 1:])


@pytest.mark.parametrize("prefix", [0, 4])
@pytest.mark.parametrize("score", ["cls", "rollout"])
def test_a_model_without_a_class_token_is_told_which_score_to_use(
    score: Score, prefix: int
) -> None:
    with pytest.raises(StageInputError, match="has none: write `score: received`"):
        tickets.patch_scores([attention()], score, "none", prefix, class_token=False)


def test_the_first_of_several_registers_is_no_class_token() -> None:
    plain, evened = (
        tickets.patch_scores([attention()], "received", sink, 4, class_token=False)
        for sink in ("none", "cls_mean")
    )
    assert torch.equal(plain, evened)
    with_class_token = tickets.patch_scores(
        [attention()], "received", "cls_mean", 4, class_token=True
    )
    assert not torch.equal(plain, with_class_token)


@given(SCORES, st.data(), st.booleans())
def test_a_global_threshold_is_that_of_a_sort_by_hand_with_stable_ties(
    scores: Tensor, data: st.DataObject, lowest: bool
) -> None:
    images, patches = scores.shape
    count = data.draw(st.integers(1, patches))
    sign = 1 if lowest else -1
    worth = sorted(
        (sign * float(scores[i, p]), i, p) for i in range(images) for p in range(patches)
    )
    best = [min(w for w in worth if w[1] == i) for i in range(images)]
    rest = [w for w in worth if w not in best][: count * images - images]
    keep = tickets.select_globally(scores, count, lowest=lowest)
    assert {(i, p) for _, i, p in best + rest} == {(i, p) for i, p in keep.nonzero().tolist()}


@pytest.mark.parametrize("count", [0, 17])
def test_an_impossible_global_count_is_refused(count: int) -> None:
    with pytest.raises(StageInputError, match=f"cannot keep {count} of 16"):
        tickets.select_globally(torch.rand(2, 16), count)


def test_nan_scores_have_no_global_threshold() -> None:
    with pytest.raises(StageInputError, match="NaN"):
        tickets.select_globally(torch.full((2, 4), math.nan), 2)


@given(SCORES, st.data())
def test_images_may_keep_a_count_of_their_own(scores: Tensor, data: st.DataObject) -> None:
    images, patches = scores.shape
    counts = data.draw(st.lists(st.integers(1, patches), min_size=images, max_size=images))
    keep = tickets.select_patches(scores, torch.tensor(counts))
    for row, own, count in zip(scores, keep, counts, strict=True):
        assert torch.equal(own, tickets.select_patches(row[None], count)[0])


def test_a_count_of_its_own_that_is_impossible_is_refused() -> None:
    for counts, bad in (([3, 0], 0), ([9, 3], 9)):
        with pytest.raises(StageInputError, match=f"cannot keep {bad} of 8"):
            tickets.select_patches(torch.rand(2, 8), torch.tensor(counts))


def test_random_patches_take_each_images_own_count() -> None:
    counts = torch.tensor([1, 5, 16, 3])
    keep = tickets.random_patches(4, 16, counts, torch.Generator().manual_seed(0))
    assert torch.equal(keep.sum(1), counts)


def test_padding_survives_a_flip_at_the_end_of_its_row() -> None:
    kept = torch.tensor([[0, 1, 6], [4, PAD, PAD], [2, 7, PAD]])
    flipped = torch.tensor([[2, 3, 5], [7, PAD, PAD], [1, 4, PAD]])
    assert torch.equal(tickets.flip(kept, columns=4), flipped)
    assert tickets.is_padded(kept)
    assert not tickets.is_padded(kept[:1])


@pytest.mark.parametrize(
    ("patches", "patch_drop", "ceil", "floor"),
    [(196, 0.1, 177, 176), (9, 0.3, 7, 6), (10, 0.7, 3, 3), (4, 0.9, 1, 1)],
)
def test_as_many_are_left_as_the_rounding_says(
    patches: int, patch_drop: float, ceil: int, floor: int
) -> None:
    """LOTUS rounds up, PatchDropout down; at least one is left."""
    for count, left in (("ceil", ceil), ("floor", floor)):
        exact = tickets.exact_drop(patches, patch_drop, count)  # type: ignore[arg-type]
        assert tickets.keep_count(patches, exact) == left
