from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trials.errors import ModelError
from trials.model.forward import forward, keep_matrix
from trials.tokens import tickets
from trials.tokens.kept import Removal

REMOVALS: tuple[Removal, ...] = ("gather", "attention_mask", "zero", "mean")


@pytest.fixture(scope="module")
def kept() -> Tensor:
    return tickets.indices(tickets.random_patches(5, 16, 9, torch.Generator().manual_seed(1)))


def seen_by_first_block(module: Any, run: Callable[[], object]) -> Tensor:
    seen: list[Tensor] = []
    hook = module.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    run()
    hook.remove()
    return seen[0].detach()


@torch.no_grad()
def test_a_ticket_of_all_patches_gives_the_dense_logits_bit_for_bit(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor
) -> None:
    module, every = model(**kind), torch.arange(16).expand(5, 16)
    for removal in REMOVALS:
        assert torch.equal(forward(module, x, every, removal), module(x))


@torch.no_grad()
def test_gathering_equals_hiding_the_dropped_keys(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor, kept: Tensor
) -> None:
    module = model(**kind)
    gathered = forward(module, x, kept)
    torch.testing.assert_close(gathered, forward(module, x, kept, "attention_mask"))
    assert (gathered - module(x)).abs().max() > 1e-3, "dropping patches changes nothing here"


@torch.no_grad()
def test_the_order_of_the_gathered_tokens_does_not_matter(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor, kept: Tensor
) -> None:
    module = model(**kind)
    mixed = kept[:, torch.randperm(9, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(forward(module, x, kept), forward(module, x, mixed))


@torch.no_grad()
def test_position_is_embedded_before_the_gather_and_the_class_token_stays(
    model: Callable[..., Any], x: Tensor, kept: Tensor
) -> None:
    module = model()
    tokens = seen_by_first_block(module, lambda: forward(module, x, kept))
    embedded, position = module.patch_embed(x), module.pos_embed[0]
    assert tokens.shape == (5, 1 + 9, 32)
    torch.testing.assert_close(tokens[:, 0], (module.cls_token[0, 0] + position[0]).expand(5, 32))
    for image in range(5):
        by_hand = embedded[image, kept[image]] + position[1 + kept[image]]
        torch.testing.assert_close(tokens[image, 1:], by_hand)


@torch.no_grad()
@pytest.mark.parametrize("removal", REMOVALS)
def test_dropped_pixels_cannot_change_the_logits(
    model: Callable[..., Any], x: Tensor, kept: Tensor, removal: Removal
) -> None:
    module = model()
    shown = keep_matrix(kept, 16).view(5, 1, 4, 4)
    shown = shown.repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = torch.where(shown, x, torch.full_like(x, 3.0))
    assert torch.equal(forward(module, x, kept, removal), forward(module, other, kept, removal))
    changed = torch.where(shown, x + 1, x)
    assert not torch.equal(
        forward(module, x, kept, removal), forward(module, changed, kept, removal)
    )


def test_painting_uses_zero_or_the_mean_of_the_kept_pixels(model: Callable[..., Any]) -> None:
    module, kept = model(), torch.tensor([[0, 5]])
    x = torch.arange(64.0).view(1, 1, 8, 8)
    shown: dict[str, Tensor] = {}
    for removal in ("zero", "mean"):
        hook = module.register_forward_pre_hook(
            lambda _, args, removal=removal: shown.update({removal: args[0]})
        )
        forward(module, x, kept, removal)  # type: ignore[arg-type]
        hook.remove()
    patches = {name: p.unfold(2, 2, 2).unfold(3, 2, 2).reshape(16, 4) for name, p in shown.items()}
    original = x.unfold(2, 2, 2).unfold(3, 2, 2).reshape(16, 4)
    for name, fill in (("zero", 0.0), ("mean", float(original[kept[0]].mean()))):
        assert torch.equal(patches[name][kept[0]], original[kept[0]])
        dropped = [i for i in range(16) if i not in (0, 5)]
        torch.testing.assert_close(patches[name][dropped], torch.full((14, 4), fill))


UNEVEN = torch.tensor([16, 1, 9, 3, 9])
POOLS: dict[str, dict[str, Any]] = {
    "max": {"global_pool": "max"},
    "avgmax": {"global_pool": "avgmax"},
    "avg-with-prefix": {"global_pool": "avg", "pool_include_prefix": True},
    "norm-after-pool": {"global_pool": "avg", "fc_norm": True},
    "map": {"global_pool": "map"},
    "map-without-cls": {"global_pool": "map", "class_token": False},
    "map-with-prefix": {"global_pool": "map", "pool_include_prefix": True},
}


@pytest.fixture
def uneven() -> Tensor:
    """Patches of five images of which one keeps all and one a single patch."""
    draw = torch.Generator().manual_seed(1)
    return tickets.indices(tickets.random_patches(5, 16, UNEVEN, draw))


def one_by_one(module: Any, x: Tensor, uneven: Tensor, removal: Removal) -> Tensor:
    """The logits of each image in a batch of its own."""
    rows = [(slice(i, i + 1), count) for i, count in enumerate(UNEVEN.tolist())]
    return torch.cat([forward(module, x[i], uneven[i, :n], removal) for i, n in rows])


@torch.no_grad()
def test_images_of_different_counts_give_the_logits_that_each_gives_alone(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor, uneven: Tensor
) -> None:
    module = model(**kind)
    for removal in REMOVALS:
        together = forward(module, x, uneven, removal, padded=True)
        torch.testing.assert_close(together, one_by_one(module, x, uneven, removal))


@torch.no_grad()
@pytest.mark.parametrize("extra", POOLS.values(), ids=POOLS)
def test_every_pool_sees_the_kept_tokens_only(
    model: Callable[..., Any], x: Tensor, uneven: Tensor, extra: dict[str, Any]
) -> None:
    module = model(**extra)
    alone = one_by_one(module, x, uneven, "gather")
    for removal in REMOVALS[:2]:
        torch.testing.assert_close(forward(module, x, uneven, removal, padded=True), alone)


@torch.no_grad()
def test_images_of_equal_counts_need_no_attention_mask(
    model: Callable[..., Any], x: Tensor, kept: Tensor, uneven: Tensor
) -> None:
    module, masks = model(), []
    module.blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: masks.append(kwargs.get("attn_mask")), with_kwargs=True
    )
    forward(module, x, kept)
    forward(module, x, uneven, padded=True)
    assert masks[0] is None
    assert masks[1].sum((1, 2, 3)).tolist() == (1 + UNEVEN).tolist()


def test_padding_that_is_not_announced_is_an_error_and_no_wrong_token(
    model: Callable[..., Any], x: Tensor, uneven: Tensor
) -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        forward(model(), x[1:], uneven[1:, :9])


def test_a_keep_matrix_gives_the_ticket_back(uneven: Tensor) -> None:
    keep = keep_matrix(uneven, 16)
    assert torch.equal(keep.sum(1), UNEVEN)
    assert torch.equal(tickets.indices(keep), uneven)


@torch.no_grad()
def test_a_pool_that_cannot_leave_tokens_out_is_refused(
    model: Callable[..., Any], x: Tensor, uneven: Tensor
) -> None:
    module = model(global_pool="prr")
    with pytest.raises(ModelError, match=r"global_pool = 'prr'.*write `tickets\.scope: image`"):
        forward(module, x, uneven, padded=True)


def test_a_model_that_drops_tokens_itself_is_refused_where_tokens_must_be_hidden(
    model: Callable[..., Any], x: Tensor, uneven: Tensor, kept: Tensor
) -> None:
    module = model(patch_drop_rate=0.5).train()
    for rows, removal, padded in ((uneven, "gather", True), (kept, "attention_mask", False)):
        with pytest.raises(ModelError, match="patch_drop_rate"):
            forward(module, x, rows, removal, padded=padded)  # type: ignore[arg-type]


def test_gradients_are_those_of_each_image_alone(
    model: Callable[..., Any], x: Tensor, uneven: Tensor
) -> None:
    together, alone = model(), model()
    forward(together, x, uneven, padded=True).square().sum().backward()
    for image, count in enumerate(UNEVEN.tolist()):
        own = uneven[image : image + 1, :count]
        forward(alone, x[image : image + 1], own).square().sum().backward()
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-3)
