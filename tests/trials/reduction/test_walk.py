import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trials.reduction.models import (
    PATCHES,
    VARIANTS,
    build,
    images,
    noise_for,
    reduced,
    settings,
)
from trials.model import forward as whole
from trials.model.attention_maps import attention_maps
from trials.reduction import attach, reducer_of
from trials.reduction.config import ReductionConfig
from trials.reduction.state import Reducer, Seen, State, take
from trials.reduction.walk import attend, forward, head

ACTIVE = {
    "evit": settings("evit", keep=0.6),
    "evit unfused": settings("evit", keep=0.6, fuse=False),
    "evit normalised": settings("evit", keep=0.6, fuse="normalised"),
    "tome": settings("tome", r=3),
    "tome drop": settings("tome", r=3, merge="drop"),
    "tome random": settings("tome", r=3, metric="random"),
    "dynamicvit": settings("dynamicvit", keep=0.8),
    "random": settings("random", keep=0.6),
}
LAST = {name: config for name, config in ACTIVE.items() if config.method != "dynamicvit"}
IDLE = {
    "none": settings("none"),
    "evit": settings("evit", keep=1.0),
    "random": settings("random", keep=1.0),
    "dynamicvit": settings("dynamicvit", keep=1.0),
    "tome": settings("tome", r=0),
    "tome list": settings("tome", r=[0, 0]),
}


def gradients(model: Any, logits: Tensor) -> list[Tensor]:
    model.zero_grad()
    logits.square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("config", IDLE.values(), ids=IDLE)
def test_keeping_everything_is_the_model_bit_for_bit(
    config: ReductionConfig, training: bool
) -> None:
    model = build(drop_path_rate=0.3, proj_drop_rate=0.2, attn_drop_rate=0.2).train(training)
    attach(config, model, seed=0)
    x = images()
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    assert torch.equal(forward(model, x, reducer_of(config, model)).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_without_a_method_a_ticket_is_gathered_as_ever_bit_for_bit(
    variant: dict[str, Any],
) -> None:
    model, x = build(**variant), images()
    kept = torch.tensor([[0, 3, 5, 9], [1, 2, 3, 15], [4, 5, 6, 7]])
    assert torch.equal(forward(model, x, None, kept).logits, whole.forward(model, x, kept))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_walking_without_doing_anything_is_the_model(variant: dict[str, Any]) -> None:
    model, x = build(**variant), images()
    walked = forward(model, x, Reducer(prefix=model.num_prefix_tokens))
    torch.testing.assert_close(walked.logits, model(x))
    torch.testing.assert_close(walked.features, model.forward_features(x))
    own, expected = gradients(model, walked.logits), gradients(model, model(x))
    assert len(own) == len(list(model.parameters()))
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_walking_drops_paths_and_projections_as_the_model_does(variant: dict[str, Any]) -> None:
    model = build(**variant, drop_path_rate=0.5, proj_drop_rate=0.3, depth=4).train()
    x = images(8)
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    walked = forward(model, x, Reducer(prefix=model.num_prefix_tokens))
    torch.testing.assert_close(walked.logits, expected)
    torch.manual_seed(1)
    assert not torch.allclose(model(x), expected)


def test_walking_drops_attention_in_training_only() -> None:
    model, x = build(attn_drop_rate=0.5), images()
    idle = Reducer(prefix=1)
    torch.testing.assert_close(forward(model, x, idle).logits, model(x))
    model.train()
    torch.manual_seed(0)
    a = forward(model, x, idle).logits
    torch.manual_seed(1)
    assert not torch.allclose(a, forward(model, x, idle).logits)


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_what_is_seen_is_what_the_attention_computes(variant: dict[str, Any]) -> None:
    model, x = build(**variant), images()
    seen: dict[int, Seen] = {}

    @dataclass(frozen=True, slots=True)
    class Look(Reducer):
        def wants(self, block: int) -> Any:
            return frozenset({"cls", "keys"})

        def between(self, block: int, x: Tensor, found: Seen, state: State) -> Any:
            seen[block] = found
            return x, state

    forward(model, x, Look(prefix=model.num_prefix_tokens))
    maps = attention_maps(model, x, range(2))
    for block, attention in enumerate(maps):
        torch.testing.assert_close(seen[block].cls, attention.mean(1)[:, 0])
        assert seen[block].keys.shape == (3, attention.shape[-1], 16)  # type: ignore[union-attr]


@torch.no_grad()
def test_keys_are_those_after_their_norm() -> None:
    attn = build(qk_norm=True).blocks[0].attn
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    _, seen = attend(attn, x, wants=frozenset({"keys"}))
    keys = attn.qkv(x)[..., 32:64].view(2, 5, 2, 16)
    torch.testing.assert_close(seen.keys, attn.k_norm(keys).mean(2))
    assert seen.cls is None


@torch.no_grad()
def test_a_bias_is_added_to_every_logit_and_seen_in_the_class_row() -> None:
    attn = build().blocks[0].attn
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(2, 1, 1, 5)
    hidden[..., 3] = -torch.inf
    others = [0, 1, 2, 4]
    biased, seen = attend(attn, x, bias=hidden, wants=frozenset({"cls"}))
    alone, _ = attend(attn, x[:, others])
    torch.testing.assert_close(biased[:, others], alone)
    assert seen.cls is not None
    assert seen.cls[:, 3].abs().max() == 0
    torch.testing.assert_close(seen.cls.sum(1), torch.ones(2))


@torch.no_grad()
@pytest.mark.parametrize("extra", [{}, VARIANTS["registers"], VARIANTS["distilled"]])
@pytest.mark.parametrize("config", LAST.values(), ids=LAST)
def test_reducing_in_the_last_block_changes_no_bit_of_the_class_logits(
    config: ReductionConfig, extra: dict[str, Any]
) -> None:
    model, x = build(**extra, depth=4), images(4)
    only = {"r": [0, 0, 0, 5]} if config.method == "tome" else {"blocks": [3]}
    late = ReductionConfig.model_validate(config.model_dump() | only)
    walked = reduced(late, model, x)
    dense = forward(model, x, Reducer(prefix=model.num_prefix_tokens))
    assert walked.features is not None
    assert dense.features is not None
    assert walked.features.shape[1] < dense.features.shape[1]
    assert torch.equal(walked.logits, dense.logits)


@torch.no_grad()
@pytest.mark.parametrize("config", ACTIVE.values(), ids=ACTIVE)
def test_prefix_tokens_stay_first_and_change_by_attention_only(config: ReductionConfig) -> None:
    model, x = build(reg_tokens=4, depth=4), images()
    attach(config, model, seed=0)
    own = reducer_of(config, model)
    assert own is not None
    moments: list[tuple[Tensor, Tensor]] = []

    class Watch:
        prefix, wants, bias = 5, own.wants, own.bias

        def before(self, block: int, x: Tensor, state: State) -> Any:
            made = own.before(block, x, state)
            moments.append((x[:, :5], made[0][:, :5]))
            return made

        def between(self, block: int, x: Tensor, seen: Seen, state: State) -> Any:
            made = own.between(block, x, seen, state)
            moments.append((x[:, :5], made[0][:, :5]))
            return made

    forward(model, x, Watch(), noise=noise_for(config, model, 3))  # type: ignore[arg-type]
    assert len(moments) == 8
    assert all(torch.equal(before, after) for before, after in moments)


@torch.no_grad()
@pytest.mark.parametrize("config", ACTIVE.values(), ids=ACTIVE)
def test_an_image_does_not_depend_on_its_batch(config: ReductionConfig) -> None:
    model, x = build(depth=4), images(6)
    noise = noise_for(config, model, 6)
    together = reduced(config, model, x, noise=noise)
    alone = [reduced(config, model, x[i : i + 1], noise=noise[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]))
    assert together.state is not None
    places = torch.cat([one.state.places for one in alone if one.state])
    assert torch.equal(together.state.places, places)


@pytest.mark.parametrize("config", ACTIVE.values(), ids=ACTIVE)
def test_cutting_a_batch_changes_a_step_by_rounding_only(config: ReductionConfig) -> None:
    model, x = build(depth=4), images(6)
    attach(config, model, seed=0)
    model.train()
    noise = noise_for(config, model, 6)
    own = reducer_of(config, model)
    whole_step = gradients(model, forward(model, x, own, noise=noise).logits)
    model.zero_grad()
    for part in (slice(0, 2), slice(2, 5), slice(5, 6)):
        forward(model, x[part], own, noise=noise[part]).logits.square().sum().backward()
    cut = [p.grad for p in model.parameters() if p.grad is not None]
    torch.testing.assert_close(cut, whole_step, rtol=1e-3, atol=1e-3)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("config", ACTIVE.values(), ids=ACTIVE)
def test_a_step_gives_the_same_bits_again(config: ReductionConfig, training: bool) -> None:
    model, x = build(depth=4), images(4)
    attach(config, model, seed=0)
    model.train(training)

    def step() -> list[Tensor]:
        logits = reduced(config, model, x).logits
        return [logits.detach(), *gradients(model, logits)]

    first, again = step(), step()
    assert all(map(torch.equal, first, again))
    assert all(bool(torch.isfinite(one).all()) for one in first)


@torch.no_grad()
@pytest.mark.parametrize("config", ACTIVE.values(), ids=ACTIVE)
def test_a_model_that_is_built_again_gives_the_same_logits(config: ReductionConfig) -> None:
    model, x = build(depth=4), images()
    attach(config, model, seed=3)
    own = {name for name in model.state_dict() if name.startswith("reducer.")}
    assert bool(own) == (config.method == "dynamicvit")
    again = build(depth=4)
    attach(config, again, seed=4)
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(reduced(config, model, x).logits, reduced(config, again, x).logits)


@torch.no_grad()
@pytest.mark.parametrize("config", ACTIVE.values(), ids=ACTIVE)
def test_every_place_is_a_patch_of_the_ticket_once_or_nobodys(config: ReductionConfig) -> None:
    model, x = build(depth=4), images()
    ticket = torch.tensor([[0, 2, 3, 4, 5, 8, 9, 11, 13, 14], list(range(6, 16)), list(range(10))])
    state = reduced(config, model, x, ticket).state
    assert state is not None
    for places, row in zip(state.places.tolist(), ticket.tolist(), strict=True):
        own = [place for place in places if place < PATCHES]
        assert own == sorted(set(own)) or config.method == "tome"
        assert len(own) == len(set(own))
        assert set(own) <= set(row)


@torch.no_grad()
@pytest.mark.parametrize(
    "pool", [{"global_pool": pool} for pool in ("avg", "max", "avgmax")], ids=str
)
@pytest.mark.parametrize("without", [False, True])
def test_a_pooling_head_counts_every_patch_of_a_merged_token(
    pool: dict[str, Any], without: bool
) -> None:
    """A token of size two is worth two equal tokens."""
    model = build(**pool, class_token=not without)
    p = model.num_prefix_tokens
    features = torch.randn(2, p + 3, 32, generator=torch.Generator().manual_seed(0))
    double = torch.cat([features, features[:, p : p + 1]], 1)
    size = torch.ones(2, p + 3, 1)
    size[:, p] = 2.0
    state = State(torch.zeros(2, 3, dtype=torch.int64), 4, size=size)
    torch.testing.assert_close(head(model, features, state), model.forward_head(double))


@torch.no_grad()
def test_autocast_changes_the_logits_by_rounding_only() -> None:
    for config in ACTIVE.values():
        model, x = build(depth=4), images()
        attach(config, model, seed=0)
        with torch.autocast("cpu", torch.bfloat16):
            logits = reduced(config, model, x).logits
        assert logits.shape == (3, 10)
        assert bool(torch.isfinite(logits).all())


def test_take_is_a_gather() -> None:
    x = torch.arange(24.0).view(2, 4, 3)
    index = torch.tensor([[3, 0], [1, 2]])
    assert torch.equal(take(x, index), torch.stack([x[0, [3, 0]], x[1, [1, 2]]]))
    assert torch.equal(take(x[..., 0], index), take(x, index)[..., 0])
