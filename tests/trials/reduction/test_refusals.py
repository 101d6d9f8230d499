from typing import Any

import pytest
import timm
import torch

from tests.trials.reduction.models import TINY, VARIANTS, build, settings
from trials.errors import ModelError
from trials.reduction import reducer_of
from trials.reduction.refusals import ATTENTION, BLOCK, refuse
from trials.reduction.state import Module

METHODS = ("evit", "tome", "dynamicvit", "random")


def meta(name: str, **extra: Any) -> Module:
    with torch.device("meta"):
        return timm.create_model(name, **(TINY | {"depth": 4} | extra))


def test_the_names_of_timms_classes_are_those_that_are_looked_for() -> None:
    block = build().blocks[0]
    for module, name in ((block, BLOCK), (block.attn, ATTENTION)):
        assert f"{type(module).__module__}.{type(module).__qualname__}" == name


OTHER_BLOCKS: list[tuple[str, dict[str, Any], str]] = [
    (
        "vit_tiny_patch16_224",
        {"block_fn": "parallel"},
        r"block 0 of vit_tiny_patch16_224 is a ParallelScalingBlock, whose attention and MLP "
        r"cannot be told apart; choose another model or method: none",
    ),
    ("vit_tiny_patch16_224", {"block_fn": "post"}, "block 0 of .* is a ResPostBlock"),
    ("vit_tiny_patch16_224", {"attn_layer": "diff"}, "block 0 of .* has a DiffAttention"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "extra", "message"), OTHER_BLOCKS)
def test_other_blocks_are_refused(
    method: str, name: str, extra: dict[str, Any], message: str
) -> None:
    from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock

    kinds = {"parallel": ParallelScalingBlock, "post": ResPostBlock}
    if "block_fn" in extra:
        extra = {"block_fn": kinds[extra["block_fn"]]}
    with pytest.raises(ModelError, match=message) as caught:
        refuse(settings(method), meta(name, **extra))
    assert str(caught.value).startswith(f"reduction.method = {method}: ")
    assert "\n" not in str(caught.value)
    refuse(settings("none"), meta(name, **extra))


def test_a_gate_is_refused() -> None:
    model = build()
    model.blocks[1].attn.gate = torch.nn.Linear(32, 32)
    with pytest.raises(ModelError, match="block 1 of vit_tiny_patch16_224 has a gated attention"):
        refuse(settings("tome"), model)


def test_evit_needs_a_class_token_and_a_register_is_none() -> None:
    for extra in ({}, {"reg_tokens": 2}):
        model = meta("vit_tiny_patch16_224", class_token=False, global_pool="avg", **extra)
        with pytest.raises(
            ModelError,
            match="evit reads the class token, and this model has none: write method: tome",
        ):
            refuse(settings("evit"), model)
        refuse(settings("tome"), model)
        refuse(settings("random"), model)


def test_dynamicvit_is_refused_where_dropped_tokens_would_be_pooled() -> None:
    for pool in ("avg", "max", "avgmax"):
        model = meta("vit_tiny_patch16_224", global_pool=pool)
        with pytest.raises(ModelError, match=f"global_pool = {pool} would average in"):
            refuse(settings("dynamicvit"), model)
        refuse(settings("tome"), model)
    refuse(settings("dynamicvit"), meta("vit_tiny_patch16_224"))


def test_dynamicvit_needs_a_width_that_can_be_quartered() -> None:
    with pytest.raises(ModelError, match="30 channels"):
        refuse(settings("dynamicvit"), meta("vit_tiny_patch16_224", embed_dim=30))


def test_tome_is_refused_where_a_pool_cannot_weigh() -> None:
    model = meta("vit_tiny_patch16_224", global_pool="map", class_token=False)
    with pytest.raises(ModelError, match="cannot weigh merged tokens in global_pool = 'map'"):
        refuse(settings("tome"), model)
    refuse(settings("tome", merge="drop"), model)
    refuse(settings("random"), model)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_drops_patches_itself_is_refused(method: str) -> None:
    with pytest.raises(ModelError, match="patch_drop_rate drops tokens inside the model as well"):
        refuse(settings(method), meta("vit_tiny_patch16_224", patch_drop_rate=0.2))


def test_blocks_and_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="the model has blocks 0 to 3"):
        refuse(settings("evit", blocks=[7]), meta("vit_tiny_patch16_224"))
    with pytest.raises(ModelError, match="2 numbers, and the model 4 blocks"):
        refuse(settings("tome", r=[1, 2]), meta("vit_tiny_patch16_224"))


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANTS)
def test_all_other_models_are_accepted(variant: str) -> None:
    extra = dict(VARIANTS[variant])
    name = extra.pop("name", "vit_tiny_patch16_224")
    for method in ("random", "tome", *(["evit"] if variant != "no class token" else [])):
        model = meta(name, **extra)
        refuse(settings(method), model)
        assert reducer_of(settings(method), model) is not None
