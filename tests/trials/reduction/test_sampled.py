import pytest
import torch

from tests.trials.reduction.models import PATCHES, build, images, noise_for, reduced, settings
from trials.reduction import reducer_of
from trials.reduction.state import State
from trials.reduction.walk import forward, run_blocks
from trials.seeding import generator


@torch.no_grad()
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("keep", [0.9, 0.6, 0.3])
def test_chance_keeps_as_many_tokens_as_evit(fuse: bool, keep: float) -> None:
    model, x = build(depth=4), images()
    counts = []
    for method in ("evit", "random"):
        state = reduced(settings(method, keep=keep, fuse=fuse), model, x).state
        assert state is not None
        counts.append(state.places.shape)
    assert counts[0] == counts[1]


@torch.no_grad()
def test_the_order_of_patches_does_not_matter() -> None:
    config, model, x = settings("random", keep=0.6), build(depth=4), images()
    own, noise = reducer_of(config, model), noise_for(config, model, 3)
    tokens = model._pos_embed(model.patch_embed(x))
    order = torch.randperm(PATCHES, generator=torch.Generator().manual_seed(1))
    mixed = torch.cat([tokens[:, :1], tokens[:, 1:][:, order]], 1)
    plain = State(torch.arange(PATCHES).expand(3, -1), PATCHES, noise=noise)
    a, left = run_blocks(model, tokens, own, plain)
    b, moved = run_blocks(model, mixed, own, State(order.expand(3, -1), PATCHES, noise=noise))
    torch.testing.assert_close(model.forward_head(a), model.forward_head(b))
    assert torch.equal(left.places.sort(1).values, moved.places.sort(1).values)


@torch.no_grad()
def test_images_and_stages_draw_apart_and_every_patch_has_its_turn() -> None:
    config, model = settings("random", keep=0.5, fuse=False, blocks=[1]), build(depth=4)
    state = reduced(config, model, images(64)).state
    assert state is not None
    rows = {tuple(row) for row in state.places.tolist()}
    assert len(rows) > 60
    counts = torch.bincount(state.places.flatten(), minlength=PATCHES)
    assert int(counts.min()) >= 20
    assert int(counts.max()) <= 44  # 64 draws of 8 of 16: 32 on average, sd 4


@torch.no_grad()
def test_equal_noise_keeps_equal_patches() -> None:
    config, model, x = settings("random", keep=0.6), build(depth=4), images()
    same = [reduced(config, model, x, noise=noise_for(config, model, 3, seed=5)) for _ in range(2)]
    other = reduced(config, model, x, noise=noise_for(config, model, 3, seed=6))
    assert torch.equal(same[0].logits, same[1].logits)
    assert not torch.equal(same[0].logits, other.logits)


@torch.no_grad()
def test_images_do_not_choose() -> None:
    config, model = settings("random", keep=0.6), build(depth=4)
    noise = noise_for(config, model, 3)
    a = reduced(config, model, images(3, seed=0), noise=noise).state
    b = reduced(config, model, images(3, seed=1), noise=noise).state
    assert a is not None
    assert b is not None
    assert torch.equal(a.places, b.places)


def test_noise_has_a_stage_for_every_block_in_which_tokens_leave() -> None:
    model = build(depth=4)
    assert noise_for(settings("random"), model, 5).shape == (5, 3, PATCHES, 2)
    assert noise_for(settings("random", blocks=[2]), model, 5).shape == (5, 1, PATCHES, 2)
    assert noise_for(settings("dynamicvit"), model, 5).shape == (5, 3, PATCHES, 2)
    assert noise_for(settings("tome", metric="random"), model, 5).shape == (5, 4, PATCHES, 2)
    assert noise_for(settings("evit"), model, 0).shape == (0, 3, PATCHES, 2)
    drawn = noise_for(settings("random"), model, 500)
    assert 0 <= float(drawn.min()) < 0.001
    assert 0.999 < float(drawn.max()) < 1


def test_noise_follows_its_generator() -> None:
    from trials.reduction.sampled import draw_noise

    config = settings("random")
    a, b, c = (
        draw_noise(config, 4, 2, PATCHES, generator(0, "reduction", epoch)) for epoch in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_chance_without_noise_is_refused() -> None:
    model = build()
    with pytest.raises(ValueError, match="draw_noise"):
        forward(model, images(), reducer_of(settings("random"), model))
    assert settings("random").draws
    assert settings("tome", metric="random").draws
    assert not settings("evit").draws
    assert not settings("tome").draws
