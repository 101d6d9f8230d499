"""Every kind of model: its own pass, passes of some patches, and its attention."""

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.trials import models
from tests.trials.models import MODELS, Make
from trials.errors import ModelError
from trials.model.attention_maps import attention_maps
from trials.model.families import FAMILIES, family_of
from trials.model.forward import forward, keep_matrix
from trials.tokens import tickets
from trials.tokens.kept import Removal

REMOVALS: tuple[Removal, ...] = get_args(Removal)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
EVEN, UNEVEN = torch.tensor([9, 9, 9, 9, 9]), torch.tensor([16, 1, 9, 3, 9])

pytestmark = pytest.mark.parametrize("name", MODELS)


def tickets_of(counts: Tensor) -> Tensor:
    """Bool (images, patches)."""
    return tickets.random_patches(5, 16, counts, torch.Generator().manual_seed(1))


@pytest.fixture
def x() -> Tensor:
    return models.images()


@pytest.fixture
def masked_reference(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Tensor, Tensor], Tensor]:
    """timm's own pass over all tokens in which nobody attends to a dropped patch.

    Nothing of ours runs in it: attention is softmax(q k^T / sqrt(d) + bias) v as papers write it,
    with -inf for dropped patches, and each image's head sees the tokens that are left.
    """

    def run(module: Any, x: Tensor, keep_BP: Tensor) -> Tensor:
        prefix = module.num_prefix_tokens
        seen = torch.cat([torch.ones(len(x), prefix, dtype=torch.bool), keep_BP], dim=1)

        def attention(
            q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **_: Any
        ) -> Tensor:
            scores = q.double() @ k.double().transpose(-2, -1) / math.sqrt(q.shape[-1])
            if attn_mask is not None:
                scores = scores + attn_mask
            scores = scores.masked_fill(~seen[:, None, None, :], -math.inf)
            return (scores.softmax(-1) @ v.double()).to(v.dtype)

        with monkeypatch.context() as patched:
            patched.setattr(nn.functional, "scaled_dot_product_attention", attention)
            features = module.forward_features(x)
        left = [tokens[rows].unsqueeze(0) for tokens, rows in zip(features, seen, strict=True)]
        return torch.cat([module.forward_head(tokens) for tokens in left])

    return run


@torch.no_grad()
def test_a_ticket_of_all_patches_gives_timms_own_logits_bit_for_bit(
    name: str, made: Make, x: Tensor
) -> None:
    model = made(name)
    plain = timm.create_model(model.arch.name, **model.arch.kwargs).eval()
    plain.load_state_dict(model.module.state_dict())
    every = torch.arange(16).expand(5, 16)
    for removal in REMOVALS:
        assert torch.equal(forward(model.module, x, every, removal), plain(x))


@torch.no_grad()
@pytest.mark.parametrize("removal", ["gather", "attention_mask"])
@pytest.mark.parametrize("counts", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_some_patches_give_the_logits_of_the_masked_reference(
    name: str,
    made: Make,
    x: Tensor,
    masked_reference: Callable[..., Tensor],
    removal: Removal,
    counts: Tensor,
) -> None:
    module, keep = made(name).module, tickets_of(counts)
    kept = tickets.indices(keep)
    found = forward(module, x, kept, removal, padded=tickets.is_padded(kept))
    torch.testing.assert_close(found, masked_reference(module, x, keep), **TOLERANCE)
    assert (found - module(x)).abs().max() > 1e-3, "dropping patches changes nothing here"


@torch.no_grad()
@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_painted_images_are_looked_at_whole(
    name: str, made: Make, x: Tensor, removal: Removal
) -> None:
    module, kept = made(name).module, tickets.indices(tickets_of(EVEN))
    shown = keep_matrix(kept, 16).view(5, 1, 4, 4)
    shown = shown.repeat_interleave(2, 2).repeat_interleave(2, 3)
    mean = (x * shown).sum((2, 3), keepdim=True) / shown.sum((2, 3), keepdim=True)
    painted = torch.where(shown, x, torch.zeros_like(x) if removal == "zero" else mean)
    torch.testing.assert_close(forward(module, x, kept, removal), module(painted), **TOLERANCE)


@torch.no_grad()
def test_the_fused_and_the_unfused_kernel_give_the_same_logits(
    name: str, made: Make, x: Tensor
) -> None:
    kept = tickets.indices(tickets_of(UNEVEN))
    fused, unfused = (made(name).module for _ in range(2))
    unfuse(unfused)
    for removal in ("gather", "attention_mask"):
        found, other = (forward(m, x, kept, removal, padded=True) for m in (fused, unfused))
        torch.testing.assert_close(found, other, **TOLERANCE)


def unfuse(module: Any) -> None:
    for part in module.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False


@torch.no_grad()
def test_attention_is_what_the_module_itself_computes(name: str, made: Make, x: Tensor) -> None:
    module = made(name).module
    maps = attention_maps(module, x, [0, -1])
    unfuse(module)
    captured: list[list[Tensor]] = []
    for block in module.blocks:
        own: list[Tensor] = []
        captured.append(own)
        for part_name, part in block.named_modules():
            if part_name.split(".")[-1] == "attn_drop":
                part.register_forward_hook(lambda _, args, out, own=own: own.append(args[0]))
    module(x)
    for found, own, block in zip(maps, captured, module.blocks, strict=True):
        lambdas = [p._compute_lambda() for p in block.modules() if hasattr(p, "lambda_init")]
        assert bool(lambdas) == name.startswith("differential")
        expected = own
        if lambdas:
            pairs = [a.view(5, -1, 2, *a.shape[-2:]).unbind(2) for a in own]
            expected = [
                (a - weight * b) / (1 - weight)
                for (a, b), weight in zip(pairs, lambdas, strict=True)
            ]
        torch.testing.assert_close(found, torch.cat(expected, dim=1), **TOLERANCE)
        torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1]), **TOLERANCE)
    for again, found in zip(attention_maps(module, x, [0, -1]), maps, strict=True):
        torch.testing.assert_close(again, found, **TOLERANCE)
    assert not any(m._forward_pre_hooks for m in module.modules())


@torch.no_grad()
def test_a_checkpoint_makes_the_module_again_with_what_no_checkpoint_holds(
    name: str, made: Make
) -> None:
    model = made(name)
    plain = timm.create_model(model.arch.name, **model.arch.kwargs)
    own = dict(model.module.named_buffers())
    expected = dict(plain.named_buffers())
    assert own.keys() == expected.keys()
    held = model.module.state_dict().keys()
    assert all(torch.equal(own[n], b) for n, b in expected.items() if n not in held)


def test_a_kind_is_known_by_its_class_token_and_its_prefix(name: str, made: Make) -> None:
    model, kind = made(name), MODELS[name]
    assert (model.has_class_token, model.module.num_prefix_tokens) == (
        kind.class_token,
        kind.prefix,
    )
    assert any(family_of(model.module) is family for family in FAMILIES.values())


def test_gradients_reach_every_weight_through_the_kept_patches(
    name: str, made: Make, x: Tensor
) -> None:
    module = made(name).module.train()
    kept = tickets.indices(tickets_of(EVEN))
    forward(module, x, kept).square().sum().backward()
    without = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in without if "norm_pre" not in n and "mask_token" not in n] == []


def test_a_subclass_that_does_something_else_is_refused(name: str, made: Make) -> None:
    module = made(name).module

    class Other(type(module)):  # type: ignore[misc]
        def forward_features(self, x: Tensor) -> Tensor:
            return x

    module.__class__ = Other
    with pytest.raises(ModelError, match="is a Other, which is none of"):
        family_of(module)
