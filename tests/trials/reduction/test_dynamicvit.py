import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from tests.trials.reduction.models import PATCHES, build, images, noise_for, settings
from trials.reduction import attach, dynamicvit, reducer_of
from trials.reduction.dynamicvit import (
    decide,
    keep_scores,
    log_shares,
    policy_attention,
    predictor,
    predictors,
)
from trials.reduction.objective import ratio_loss, wanted_shares
from trials.reduction.state import Reducer, Seen, State, take_patches
from trials.reduction.walk import Walked, forward, run_blocks

KEEP = settings("dynamicvit", keep=0.8)


def ready(depth: int = 4, seed: int = 0, **extra: Any) -> Any:
    """A model with predictors that tell patches apart."""
    model = build(depth=depth, **extra)
    attach(KEEP, model, seed=seed)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.reducer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return model


def training(model: Any, x: Tensor, noise: Tensor | None = None) -> Walked:
    model.train()
    noise = noise_for(KEEP, model, len(x)) if noise is None else noise
    return forward(model, x, reducer_of(KEEP, model), noise=noise)


class Given(Reducer):
    """Hides, or gathers, what it is told to, before blocks 1, 2, 3."""

    __slots__ = ("gathers", "keeps", "little")

    def __init__(self, keeps: Sequence[Tensor], *, gathers: bool) -> None:
        object.__setattr__(self, "prefix", 1)
        object.__setattr__(self, "keeps", keeps)
        object.__setattr__(self, "gathers", gathers)

    def before(self, block: int, x: Tensor, state: State) -> tuple[Tensor, State]:
        if block == 0:
            return x, state
        keep = self.keeps[block - 1]
        if not self.gathers:
            return x, replace(state, policy=torch.cat([torch.ones(len(x), 1), keep], 1))
        here = keep.gather(1, state.places) > 0
        index = here.nonzero()[:, 1].view(len(x), -1)
        return take_patches(x, state, index, 1)


def nested(seed: int, counts: Sequence[int] = (12, 8, 3)) -> list[Tensor]:
    """Decisions of three stages, each within the one before, equal counts in every image."""
    order = torch.rand(3, PATCHES, generator=torch.Generator().manual_seed(seed)).argsort(1)
    return [torch.zeros(3, PATCHES).scatter(1, order[:, :n], 1.0) for n in counts]


@torch.no_grad()
@pytest.mark.parametrize(("little", "near"), [(1e-6, 1e-4), (0.0, 1e-5)])
@pytest.mark.parametrize("seed", range(3))
def test_hiding_is_gathering_for_the_class_token(
    little: float, near: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trials.reduction import walk

    monkeypatch.setattr(walk, "policy_attention", lambda s, p: policy_attention(s, p, little))
    model, x, keeps = build(depth=4), images(), nested(seed)
    hidden = forward(model, x, Given(keeps, gathers=False)).logits
    gathered = forward(model, x, Given(keeps, gathers=True)).logits
    scale = float(gathered.abs().max())
    assert float((hidden - gathered).abs().max()) <= near * max(1.0, scale)
    assert not torch.allclose(gathered, model(x), atol=1e-2)


@torch.no_grad()
def test_pixels_of_a_dropped_patch_change_no_class_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    from trials.reduction import walk

    monkeypatch.setattr(walk, "policy_attention", lambda s, p: policy_attention(s, p, 0.0))
    model, x = build(depth=4), images()
    keep = torch.ones(3, PATCHES)
    keep[:, 5] = 0  # the patch in row 1, column 1 of the grid of 4

    class FromTheStart(Reducer):
        def before(self, block: int, x: Tensor, state: State) -> tuple[Tensor, State]:
            return x, replace(state, policy=torch.cat([torch.ones(3, 1), keep], 1))

    other = x.clone()
    other[:, :, 2:4, 2:4] += 3.0
    own = FromTheStart(prefix=1)
    assert torch.equal(forward(model, x, own).logits, forward(model, other, own).logits)
    assert not torch.allclose(model(x), model(other))


@torch.no_grad()
@given(st.integers(0, 2**31), st.sampled_from([0.0, 1e-6]))
@examples(max_examples=30)
def test_rows_of_the_policy_attention_sum_to_one_over_what_is_visible(
    seed: int, little: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = 5 * torch.randn(2, 2, 6, 6, generator=draw)
    policy = (torch.rand(2, 6, generator=draw) > 0.5).float()
    policy[:, 0] = 1
    rows = policy_attention(scores, policy, little)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 2, 6))
    visible = (policy[:, None, None, :] > 0) | torch.eye(6, dtype=torch.bool)
    expected = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=2e-6)


@torch.no_grad()
def test_a_dropped_key_of_a_huge_logit_drowns_nobody() -> None:
    scores = torch.zeros(1, 1, 3, 3)
    scores[..., 2] = 500.0
    rows = policy_attention(scores, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(rows[0, 0, 0], torch.tensor([0.5, 0.5, 0.0]), rtol=0, atol=1e-5)


def test_a_gradient_reaches_the_policy_of_a_dropped_token_and_stays_finite() -> None:
    for height in (0.0, 3.0, 500.0):
        scores = torch.zeros(1, 1, 3, 3, requires_grad=True)
        high = scores + torch.tensor([0.0, 0.0, height])
        policy = torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)
        policy_attention(high, policy)[0, 0, 0, 0].backward()
        assert policy.grad is not None
        assert scores.grad is not None
        assert policy.grad[0, 2] < 0
        assert bool(torch.isfinite(policy.grad).all())
        assert bool(torch.isfinite(scores.grad).all())


def test_the_gradient_at_the_policy_is_that_of_the_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 2, 5, 5, generator=draw)
    policy = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0]])

    def plain(policy: Tensor) -> Tensor:
        eye = torch.eye(5)
        visible = policy[:, None, None, :] * (1 - eye) + eye
        weights = scores.exp() * visible
        return weights / weights.sum(-1, keepdim=True)

    probe = torch.randn(1, 2, 5, 5, generator=draw)
    found, expected = (
        torch.autograd.functional.jacobian(lambda p, f=f: (f(p) * probe).sum(), policy)
        for f in (lambda p: policy_attention(scores, p, 0.0), plain)
    )
    torch.testing.assert_close(found, expected)


def test_the_loss_tells_a_dropped_patch_what_it_would_be_worth() -> None:
    model, x = ready(), images()
    logits: dict[int, Tensor] = {}
    decide_as_it_is = dynamicvit.decide

    def watched(shares: Tensor, noise: Tensor, before: Tensor, tau: float) -> Tensor:
        shares.retain_grad()
        logits[len(logits)] = shares
        return decide_as_it_is(shares, noise, before, tau)

    dynamicvit.decide = watched
    try:
        walked = training(model, x)
    finally:
        dynamicvit.decide = decide_as_it_is
    torch.nn.functional.cross_entropy(walked.logits, torch.tensor([1, 2, 3])).backward()
    assert walked.state is not None
    dropped = walked.state.decisions[0] == 0
    assert bool(dropped.any())
    gradient = logits[0].grad
    assert gradient is not None
    assert bool((gradient[..., 0][dropped] != 0).all())


def test_decisions_nest_and_are_exactly_zero_or_one() -> None:
    state = training(ready(), images(6)).state
    assert state is not None
    assert len(state.decisions) == 3
    for decision in state.decisions:
        assert set(decision.unique().tolist()) <= {0.0, 1.0}
    for later, earlier in zip(state.decisions[1:], state.decisions, strict=False):
        assert bool((later <= earlier).all())
    assert state.policy is not None
    assert (state.policy[:, 0] == 1).all()
    assert torch.equal(state.policy[:, 1:], state.decisions[-1])


def test_a_decision_is_a_draw_with_the_gradient_of_its_chance() -> None:
    shares = torch.tensor([[0.3, 0.7], [0.9, 0.1]]).log().expand(20000, 2, 2)
    noise = torch.rand(20000, 2, 2, generator=torch.Generator().manual_seed(0))
    shares = shares.clone().requires_grad_(True)
    drawn = decide(shares, noise, torch.ones(20000, 2), tau=1.0)
    kept = drawn.mean(0)
    torch.testing.assert_close(kept.detach(), torch.tensor([0.3, 0.9]), rtol=0, atol=0.015)
    drawn.sum().backward()
    assert shares.grad is not None
    assert (shares.grad[..., 0] >= 0).all()
    assert (shares.grad[..., 0] > 0).float().mean() > 0.99


def test_extreme_noise_gives_a_finite_decision() -> None:
    shares = torch.tensor([[[-0.1, -2.4]]], requires_grad=True)
    for keep in (0.0, 1 - 2**-24):
        for drop in (0.0, 1 - 2**-24):
            made = decide(shares, torch.tensor([[[keep, drop]]]), torch.ones(1, 1), tau=0.5)
            assert made.item() in (0.0, 1.0)
            made.backward()
    assert shares.grad is not None
    assert bool(torch.isfinite(shares.grad).all())


def test_what_was_dropped_stays_dropped() -> None:
    made = decide(
        torch.tensor([[[0.0, -30.0]]]), torch.tensor([[[0.5, 0.5]]]), torch.zeros(1, 1), tau=1.0
    )
    assert made.item() == 0


def test_a_predictor_hears_the_kept_patches_only() -> None:
    own = predictor(32)
    x = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    kept = torch.tensor([[1.0, 1, 0, 1, 0, 1]] * 2)
    other = x.clone()
    other[:, [2, 4]] += 5.0
    visible = [0, 1, 3, 5]
    a, b = log_shares(own, x, kept), log_shares(own, other, kept)
    torch.testing.assert_close(a[:, visible], b[:, visible])
    torch.testing.assert_close(a[:, visible], log_shares(own, x[:, visible], torch.ones(2, 4)))
    torch.testing.assert_close(a.exp().sum(-1), torch.ones(2, 6))
    assert torch.equal(keep_scores(a), a[..., 0])


def test_predictors_begin_as_published_and_follow_the_seed() -> None:
    a, b, other = predictors(64, 3, 0), predictors(64, 3, 0), predictors(64, 3, 1)
    states = [dict(one.state_dict()) for one in (a, b, other)]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not all(torch.equal(states[0][n], states[2][n]) for n in states[0])
    assert len(a) == 3
    for name, tensor in states[0].items():
        if tensor.ndim == 2:
            assert 0.01 < float(tensor.std()) < 0.03, name  # the smallest holds 32 numbers
        elif name.endswith("bias"):
            assert not tensor.any(), name
    shapes = [tuple(t.shape) for t in states[0].values() if t.ndim == 2][:4]
    assert shapes == [(64, 64), (32, 64), (16, 32), (2, 16)]


@pytest.mark.parametrize("extra", [{}, {"reg_tokens": 4}])
def test_a_batch_of_which_everything_is_dropped_is_finite(extra: dict[str, Any]) -> None:
    model, x = ready(**extra), images()
    noise = torch.zeros(3, 3, PATCHES, 2)
    noise[..., 1] = 1 - 2**-24
    with torch.no_grad():
        for own in model.reducer:
            own["outer"][4].bias.copy_(torch.tensor([-9.0, 9.0]))
    walked = training(model, x, noise)
    assert walked.state is not None
    assert all(not decision.any() for decision in walked.state.decisions)
    shares = wanted_shares(KEEP, stages=3, whole=PATCHES, entered=PATCHES)
    loss = walked.logits.square().mean() + ratio_loss(walked.state.decisions, shares)
    loss.backward()
    assert bool(torch.isfinite(loss))
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert bool(torch.isfinite(parameter.grad).all()), name


@torch.no_grad()
def test_inference_keeps_the_published_counts_nested() -> None:
    model, x = ready(), images()
    own = reducer_of(KEEP, model)
    kept: list[Tensor] = []

    class Watch(Reducer):
        def before(self, block: int, x: Tensor, state: State) -> tuple[Tensor, State]:
            assert own is not None
            x, state = own.before(block, x, state)
            kept.append(state.places)
            return x, state

    forward(model, x, Watch(prefix=1))
    assert [places.shape[1] for places in kept] == [16, 12, 10, 8]
    for earlier, later in itertools.pairwise(kept):
        for a, b in zip(earlier.tolist(), later.tolist(), strict=True):
            assert set(b) <= set(a)
            assert b == sorted(b)


@torch.no_grad()
def test_inference_keeps_the_highest_scores() -> None:
    model = ready(depth=4)
    own = reducer_of(KEEP, model)
    assert own is not None
    tokens = torch.randn(3, 17, 32, generator=torch.Generator().manual_seed(0))
    state = State(torch.arange(PATCHES).expand(3, -1), PATCHES)
    _, left = own.before(1, tokens, state)
    scores = keep_scores(log_shares(model.reducer[0], tokens[:, 1:], torch.ones(3, PATCHES)))
    for row, places in zip(scores.tolist(), left.places.tolist(), strict=True):
        by_hand = sorted(range(PATCHES), key=lambda i: (-row[i], i))[:12]
        assert places == sorted(by_hand)


@torch.no_grad()
@pytest.mark.parametrize("mode", [False, True])
def test_permuted_patches_get_permuted_decisions(mode: bool) -> None:
    model, x = ready().train(mode), images()
    own, noise = reducer_of(KEEP, model), noise_for(KEEP, model, 3)
    tokens = model._pos_embed(model.patch_embed(x))
    order = torch.randperm(PATCHES, generator=torch.Generator().manual_seed(1))
    mixed = torch.cat([tokens[:, :1], tokens[:, 1:][:, order]], 1)
    plain = State(torch.arange(PATCHES).expand(3, -1), PATCHES, noise=noise)
    a, left = run_blocks(model, tokens, own, plain)
    b, moved = run_blocks(model, mixed, own, State(order.expand(3, -1), PATCHES, noise=noise))
    torch.testing.assert_close(model.forward_head(a), model.forward_head(b), rtol=1e-4, atol=1e-4)
    if mode:
        for one, other in zip(left.decisions, moved.decisions, strict=True):
            assert torch.equal(one[:, order], other)
    else:
        assert torch.equal(left.places.sort(1).values, moved.places.sort(1).values)


def test_training_without_noise_is_refused() -> None:
    model = ready().train()
    with pytest.raises(ValueError, match="draw_noise"):
        forward(model, images(), reducer_of(KEEP, model))


def test_evaluation_needs_no_noise_and_shows_nothing_of_training() -> None:
    model, x = ready(), images()
    walked = forward(model, x, reducer_of(KEEP, model))
    assert walked.state is not None
    assert walked.state.policy is None
    assert walked.state.decisions == ()
    assert Seen() == Seen(None, None)
