import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from tests.trials.reduction.models import PATCHES, build, images, noise_for, reduced, settings
from trials.reduction import reducer_of
from trials.reduction.state import State
from trials.reduction.tome import add_at, add_by_product, match, merge, random_match
from trials.reduction.walk import attend, forward, run_blocks
from trials.tokens.tickets import PAD


def by_hand(
    x: Tensor, size: list[float], metric: Tensor, r: int, prefix: int
) -> tuple[list[Tensor], list[float]]:
    """ToMe on one image (N, d), token by token, from the paper's text."""
    tokens = len(x)
    best: list[tuple[float, int, int]] = []
    for a in range(0, tokens, 2):
        if a < prefix:
            continue
        cosines = [
            (float(metric[a] @ metric[b] / (metric[a].norm() * metric[b].norm())), b)
            for b in range(1, tokens, 2)
            if b >= prefix
        ]
        value, b = max(cosines, key=lambda found: (found[0], -found[1]))
        best.append((value, a, b))
    merged = sorted(best, key=lambda found: (-found[0], found[1]))[:r]
    total = {i: x[i].double() * size[i] for i in range(tokens)}
    weight = dict(enumerate(size))
    for _, a, b in merged:
        total[b] = total[b] + x[a].double() * size[a]
        weight[b] += size[a]
    gone = {a for _, a, _ in merged}
    even = [i for i in range(prefix, tokens) if i % 2 == 0 and i not in gone]
    order = [*range(prefix), *even, *(i for i in range(prefix, tokens) if i % 2 == 1)]
    return [total[i] / weight[i] for i in order], [weight[i] for i in order]


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, int, int]:
    prefix, patches = draw(st.integers(0, 5)), draw(st.integers(2, 17))
    return draw(st.integers(0, 2**31)), prefix, patches, draw(st.integers(1, patches // 2))


@given(cases())
@examples(max_examples=60)
def test_matching_and_merging_are_those_of_a_loop(case: tuple[int, int, int, int]) -> None:
    seed, prefix, patches, r = case
    draw, tokens = torch.Generator().manual_seed(seed), prefix + patches
    x, metric = torch.randn(2, tokens, 6, generator=draw), torch.randn(2, tokens, 4, generator=draw)
    size = torch.randint(1, 5, (2, tokens, 1), generator=draw).float()
    size[:, :prefix] = 1
    matching = match(metric, r, prefix)
    merged, sizes = merge(x, size, matching)
    assert merged.shape == (2, tokens - r, 6)
    for image in range(2):
        own, weights = by_hand(x[image], size[image, :, 0].tolist(), metric[image], r, prefix)
        torch.testing.assert_close(merged[image], torch.stack(own).float())
        assert sizes[image, :, 0].tolist() == weights


@given(cases())
@examples(max_examples=60)
def test_nothing_is_lost_and_no_prefix_token_merges(case: tuple[int, int, int, int]) -> None:
    seed, prefix, patches, r = case
    draw, tokens = torch.Generator().manual_seed(seed), prefix + patches
    x = torch.randn(3, tokens, 6, generator=draw)
    matching = match(torch.randn(3, tokens, 4, generator=draw), r, prefix)
    merged, size = merge(x, None, matching)
    torch.testing.assert_close((merged * size).sum(1), x.sum(1), rtol=1e-4, atol=1e-4)
    assert (size.sum(1) == tokens).all()
    assert torch.equal(merged[:, :prefix], x[:, :prefix])
    assert (size[:, :prefix] == 1).all()
    survivors = matching.survivors(tokens)
    for row, source in zip(survivors.tolist(), matching.source.tolist(), strict=True):
        assert sorted(row + source) == list(range(tokens))


def test_tokens_that_do_not_merge_keep_every_bit() -> None:
    draw = torch.Generator().manual_seed(0)
    x, size = torch.randn(2, 9, 6, generator=draw), torch.full((2, 9, 1), 3.0)
    matching = match(torch.randn(2, 9, 4, generator=draw), 2, 1)
    merged, sizes = merge(x, size, matching)
    left = matching.survivors(9)
    for image in range(2):
        for place, token, weight in zip(left[image], merged[image], sizes[image], strict=True):
            if weight == 3:
                assert torch.equal(token, x[image, place])


def test_ties_go_to_the_earlier_token() -> None:
    same = match(torch.ones(1, 9, 4), 2, 1)
    assert same.source.tolist() == [[2, 4]]
    assert same.target.tolist() == [[1, 1]]
    assert same.unmerged.tolist() == [[6, 8]]


@pytest.mark.parametrize(("r", "prefix"), [(0, 1), (5, 1), (5, 0), (3, 5)])
def test_more_than_half_of_the_patches_cannot_merge(r: int, prefix: int) -> None:
    with pytest.raises(ValueError, match=f"cannot merge {r} of {9 - prefix} tokens"):
        match(torch.ones(1, 9, 4), r, prefix)


def test_a_token_without_keys_is_like_nobody() -> None:
    metric = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0))
    metric[0, 4] = 0
    assert not torch.isnan(match(metric, 2, 1).source.float()).any()
    assert 4 not in match(metric, 1, 1).source[0].tolist()


def test_matching_has_no_gradient_and_features_have() -> None:
    draw = torch.Generator().manual_seed(0)
    metric = torch.randn(2, 9, 4, generator=draw, requires_grad=True)
    x = torch.randn(2, 9, 6, generator=draw, requires_grad=True)
    merged, _ = merge(x, None, match(metric, 3, 1))
    merged.square().sum().backward()
    assert metric.grad is None
    assert x.grad is not None
    assert (x.grad != 0).all()


@given(st.integers(0, 2**31))
@examples(max_examples=20)
def test_adding_by_a_product_is_adding(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    base, parts = torch.randn(3, 7, 5, generator=draw), torch.randn(3, 4, 5, generator=draw)
    target = torch.randint(0, 7, (3, 4), generator=draw)
    torch.testing.assert_close(
        add_by_product(base, target, parts), add_at(base, target, parts), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_a_token_twice_is_as_good_as_one_of_size_two() -> None:
    attn = build().blocks[0].attn
    x = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    twice = torch.cat([x, x[:, 3:4]], 1)
    size = torch.ones(2, 6, 1)
    size[:, 3] = 2
    own = reducer_of(settings("tome", r=1), build())
    assert own is not None
    state = State(torch.zeros(2, 5, dtype=torch.int64), 5, size=size)
    merged, _ = attend(attn, x, bias=own.bias(1, state))
    pair, _ = attend(attn, twice)
    torch.testing.assert_close(merged, pair[:, :6], rtol=1e-5, atol=5e-6)
    other = reducer_of(settings("tome", r=1, prop_attn=False), build())
    assert other is not None
    assert other.bias(1, state) is None


@torch.no_grad()
@pytest.mark.parametrize("extra", [{}, {"reg_tokens": 4}, {"class_token": False}])
def test_sizes_add_up_to_all_patches_in_every_block(extra: dict[str, object]) -> None:
    if extra.get("class_token") is False:
        extra = extra | {"global_pool": "avg"}
    model, x = build(depth=4, **extra), images()
    walked = reduced(settings("tome", r=3), model, x)
    assert walked.state is not None
    assert walked.state.size is not None
    p = model.num_prefix_tokens
    assert (walked.state.size.sum(1) == PATCHES + p).all()
    assert (walked.state.size[:, :p] == 1).all()
    own = walked.state.places == PAD
    assert ((walked.state.size[:, p:, 0] > 1) == own).all()


@torch.no_grad()
def test_the_order_of_patches_matters() -> None:
    model, x = build(depth=4), images()
    own = reducer_of(settings("tome", r=3), model)
    tokens = model._pos_embed(model.patch_embed(x))
    order = torch.randperm(PATCHES, generator=torch.Generator().manual_seed(1))
    mixed = torch.cat([tokens[:, :1], tokens[:, 1:][:, order]], 1)
    state = State(torch.arange(PATCHES).expand(3, -1), PATCHES)
    a, _ = run_blocks(model, tokens, own, state)
    b, _ = run_blocks(model, mixed, own, state)
    assert not torch.allclose(model.forward_head(a), model.forward_head(b), atol=1e-3)


@torch.no_grad()
def test_a_large_r_is_capped_at_half_of_the_patches() -> None:
    model, x = build(depth=4), images()
    most = reduced(settings("tome", r=100), model, x)
    halves = reduced(settings("tome", r=[8, 4, 2, 1]), model, x)
    assert torch.equal(most.logits, halves.logits)
    assert most.state is not None
    assert most.state.places.shape[1] == 1


@given(st.integers(0, 2**31), st.integers(0, 5), st.integers(2, 12))
@examples(max_examples=60)
def test_random_matching_pairs_even_patches_with_odd_ones(
    seed: int, prefix: int, patches: int
) -> None:
    noise = torch.rand(4, patches, 2, generator=torch.Generator().manual_seed(seed))
    r = patches // 2
    found = random_match(noise, r, prefix)
    assert (found.source % 2 == 0).all()
    assert (found.target % 2 == 1).all()
    for where in (found.source, found.target, found.unmerged):
        assert (where >= prefix).all()
        assert (where < prefix + patches).all()
    top = random_match(torch.full((1, patches, 2), 1 - 2**-24), r, prefix)
    assert (top.target < prefix + patches).all()


@torch.no_grad()
def test_the_controls_merge_others_or_merge_nothing() -> None:
    model, x = build(depth=4), images()
    by_keys = reduced(settings("tome", r=3), model, x)
    chance = settings("tome", r=3, metric="random")
    a = reduced(chance, model, x, noise=noise_for(chance, model, 3, seed=0))
    b = reduced(chance, model, x, noise=noise_for(chance, model, 3, seed=1))
    dropped = reduced(settings("tome", r=3, merge="drop"), model, x)
    for one, other in ((by_keys, a), (a, b), (by_keys, dropped)):
        assert not torch.allclose(one.logits, other.logits)
    assert by_keys.state is not None
    assert dropped.state is not None
    assert dropped.state.size is None
    assert (dropped.state.places != PAD).all()
    assert dropped.state.places.shape == by_keys.state.places.shape


def test_chance_without_noise_is_refused() -> None:
    model = build()
    own = reducer_of(settings("tome", r=3, metric="random"), model)
    with pytest.raises(ValueError, match="draw_noise"):
        forward(model, images(), own)
