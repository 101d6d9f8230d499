from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from tests.trials.reduction.models import PATCHES, build, images, reduced, settings
from trials.reduction import reducer_of
from trials.reduction.evit import attentive, fuse
from trials.reduction.state import Reducer, Seen, State
from trials.reduction.walk import forward, run_blocks
from trials.tokens.tickets import PAD

rows = st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4)


@given(rows, st.integers(1, 6))
def test_the_best_are_kept_and_ties_go_to_the_earlier(found: list[list[int]], count: int) -> None:
    kept = attentive(torch.tensor(found, dtype=torch.float32), count)
    for row, own in zip(found, kept.tolist(), strict=True):
        by_hand = sorted(range(6), key=lambda i: (-row[i], i))[:count]
        assert own == sorted(by_hand)


@given(rows, st.integers(1, 5))
def test_kept_sets_nest(found: list[list[int]], count: int) -> None:
    scores = torch.tensor(found, dtype=torch.float32)
    fewer, more = attentive(scores, count).tolist(), attentive(scores, count + 1).tolist()
    assert all(set(a) < set(b) for a, b in zip(fewer, more, strict=True))


@pytest.mark.parametrize("count", [0, 7])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {count} of 6 tokens"):
        attentive(torch.zeros(1, 6), count)


@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans())
@examples(max_examples=30)
def test_the_fused_token_is_what_was_not_kept(seed: int, count: int, normalise: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 7, 5, generator=draw)
    cls = torch.rand(3, 7, generator=draw).softmax(1) * 0.8
    kept = attentive(cls, count)
    fused = fuse(x, cls, kept, normalise=normalise)
    for image in range(3):
        dropped = [i for i in range(7) if i not in kept[image].tolist()]
        assert len(dropped) == 7 - count
        total = sum(cls[image, i] for i in dropped) if normalise else 1.0
        expected = sum(cls[image, i] * x[image, i] for i in dropped) / total
        torch.testing.assert_close(fused[image, 0], expected)


def test_a_fused_token_of_nothing_is_nothing() -> None:
    x, cls = torch.ones(1, 2, 3), torch.tensor([[1.0, 0.0]])
    assert torch.equal(fuse(x, cls, torch.tensor([[0]]), normalise=True), torch.zeros(1, 1, 3))


def test_attention_gets_a_gradient_through_the_fused_token() -> None:
    x, cls = torch.randn(1, 4, 3), torch.rand(1, 4, requires_grad=True)
    fuse(x, cls, torch.tensor([[0, 2]]), normalise=False).sum().backward()
    assert cls.grad is not None
    assert (cls.grad[0] != 0).tolist() == [False, True, False, True]


@torch.no_grad()
@pytest.mark.parametrize("fuse_setting", [True, False, "normalised"])
@pytest.mark.parametrize("extra", [{}, {"reg_tokens": 4}])
def test_the_order_of_patches_does_not_matter(fuse_setting: Any, extra: dict[str, Any]) -> None:
    model, x = build(depth=4, **extra), images()
    config = settings("evit", keep=0.6, fuse=fuse_setting)
    own, p = reducer_of(config, model), model.num_prefix_tokens
    tokens = model._pos_embed(model.patch_embed(x))
    order = torch.randperm(PATCHES, generator=torch.Generator().manual_seed(1))
    mixed = torch.cat([tokens[:, :p], tokens[:, p:][:, order]], 1)
    plain = State(torch.arange(PATCHES).expand(3, -1), PATCHES)
    a, left = run_blocks(model, tokens, own, plain)
    b, moved = run_blocks(model, mixed, own, State(order.expand(3, -1), PATCHES))
    torch.testing.assert_close(model.forward_head(a), model.forward_head(b))
    assert torch.equal(left.places.sort(1).values, moved.places.sort(1).values)


@torch.no_grad()
def test_without_fusion_dropping_is_hiding_from_the_next_block_on() -> None:
    model, x = build(depth=4), images()
    config = settings("evit", keep=0.5, fuse=False, blocks=[1])
    walked = reduced(config, model, x)
    assert walked.state is not None
    hidden = torch.ones(3, PATCHES + 1, dtype=torch.bool)
    hidden[:, 0] = False
    hidden.scatter_(1, walked.state.places + 1, False)

    class Hide(Reducer):
        def bias(self, block: int, state: State) -> Tensor | None:
            if block <= 1:
                return None
            return torch.zeros(3, 1, 1, PATCHES + 1).masked_fill(hidden[:, None, None], -torch.inf)

    torch.testing.assert_close(walked.logits, forward(model, x, Hide(prefix=1)).logits)


@torch.no_grad()
def test_registers_and_distillation_tokens_are_never_ranked() -> None:
    for extra in ({"reg_tokens": 4}, {"name": "deit_tiny_distilled_patch16_224"}):
        model = build(**extra)
        own, p = reducer_of(settings("evit", keep=0.5, fuse=False, blocks=[0]), model), 0
        p = model.num_prefix_tokens
        assert own is not None
        x = torch.randn(2, p + 8, 32)
        cls = torch.zeros(2, p + 8)
        cls[:, p + 4 :] = 0.1  # the last four patches; the prefix gets nothing
        state = State(torch.arange(8).expand(2, -1), 8)
        tokens, left = own.between(0, x, Seen(cls=cls), state)
        assert torch.equal(tokens, torch.cat([x[:, :p], x[:, p + 4 :]], 1))
        assert left.places.tolist() == [[4, 5, 6, 7]] * 2


def test_without_the_attention_that_it_asked_for_it_refuses() -> None:
    own = reducer_of(settings("evit", blocks=[1]), build())
    assert own is not None
    assert own.wants(0) == frozenset()
    assert own.wants(1) == {"cls"}
    state = State(torch.arange(PATCHES).expand(1, -1), PATCHES)
    with pytest.raises(ValueError, match="block 1: the class token's attention"):
        own.between(1, torch.zeros(1, 17, 32), Seen(), state)


@torch.no_grad()
def test_the_fused_token_is_last_nobodys_patch_and_counts_as_one_later() -> None:
    model, x = build(depth=4), images()
    walked = reduced(settings("evit", keep=0.5, blocks=[0]), model, x)
    assert walked.state is not None
    assert (walked.state.places == PAD).tolist() == [[False] * 8 + [True]] * 3
    twice = reduced(settings("evit", keep=0.5, blocks=[0, 1]), model, x)
    assert twice.state is not None
    assert twice.state.places.shape[1] == 5 + 1  # ceil(9 / 2), and one


@torch.no_grad()
def test_where_rounding_up_keeps_all_nothing_is_fused() -> None:
    model, x = build(), images()
    ticket = torch.tensor([[0, 5, 9]] * 3)
    config = settings("evit", keep=0.9)
    walked = reduced(config, model, x, ticket)
    assert walked.state is not None
    assert walked.state.places.tolist() == ticket.tolist()
    idle = forward(model, x, Reducer(prefix=1), ticket)
    assert torch.equal(walked.logits, idle.logits)


@pytest.mark.parametrize(("fuse_setting", "normalise"), [(True, False), ("normalised", True)])
def test_the_setting_says_whether_weights_of_the_fused_token_sum_to_one(
    fuse_setting: Any, normalise: bool
) -> None:
    own = reducer_of(settings("evit", keep=0.5, blocks=[0], fuse=fuse_setting), build())
    assert own is not None
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1 + PATCHES, 32, generator=draw)
    cls = torch.rand(2, 1 + PATCHES, generator=draw).softmax(-1)
    state = State(torch.arange(PATCHES).expand(2, -1), PATCHES)
    tokens, _ = own.between(0, x, Seen(cls=cls), state)
    kept = attentive(cls[:, 1:], 8)
    assert torch.equal(tokens[:, -1:], fuse(x[:, 1:], cls[:, 1:], kept, normalise=normalise))
