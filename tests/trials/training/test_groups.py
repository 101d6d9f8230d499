"""Parameter groups: timm's own functions say which tensors decay, and at what learning rate."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import Tensor

from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.training.groups import SCALE, freeze_all_but_the_head, groups, train_mode
from trials.training.recipe import DecayConfig, TrainConfig

Make = Callable[..., Any]
Settings = dict[int, tuple[float, float]]


def settings(found: list[dict[str, Any]]) -> Settings:
    """Of each tensor: weight decay and factor on the learning rate."""
    return {
        id(one): (group["weight_decay"], group.get(SCALE, 1.0))
        for group in found
        for one in group["params"]
    }


def test_without_settings_there_are_the_two_groups_that_there_always_were(model: Make) -> None:
    module = model()
    decay, other = groups(module, TrainConfig(), 0.1)
    assert [id(p) for p in decay["params"]] == [id(p) for p in module.parameters() if p.ndim >= 2]
    assert [id(p) for p in other["params"]] == [id(p) for p in module.parameters() if p.ndim < 2]
    assert (decay["weight_decay"], other["weight_decay"]) == (0.1, 0.0)
    assert decay[SCALE] == other[SCALE] == 1.0


def test_timms_list_spares_class_token_positions_and_registers(kind: Any, model: Make) -> None:
    module = model(**kind)
    found = settings(groups(module, DecayConfig(no_decay="timm"), 0.1))
    assert found == settings(
        param_groups_weight_decay(module, 0.1, no_weight_decay_list=module.no_weight_decay())
    )
    named = dict(module.named_parameters())
    spared = {"cls_token", "pos_embed", "reg_token"} & named.keys()
    plain = settings(groups(module, DecayConfig(), 0.1))
    assert {n for n, p in named.items() if found[id(p)] != plain[id(p)]} == spared
    assert spared


@pytest.mark.parametrize("no_decay", ["vectors", "timm"])
def test_the_rate_falls_from_the_head_down_as_timm_has_it(
    no_decay: Any, kind: Any, model: Make
) -> None:
    module = model(**kind)
    found = groups(module, DecayConfig(layer_decay=0.5, no_decay=no_decay), 0.1)
    listed = module.no_weight_decay() if no_decay == "timm" else ()
    expected = param_groups_layer_decay(module, 0.1, no_weight_decay_list=listed, layer_decay=0.5)
    assert settings(found) == settings(expected)
    named = dict(module.named_parameters())
    scale = {name: settings(found)[id(p)][1] for name, p in named.items()}
    assert scale["head.weight"] == 1.0
    assert scale["blocks.1.attn.qkv.weight"] == 2 * scale["blocks.0.attn.qkv.weight"]
    assert scale["pos_embed"] < scale["blocks.0.attn.qkv.weight"]


def test_every_tensor_is_in_one_group(kind: Any, model: Make) -> None:
    module = model(**kind)
    for cfg in (DecayConfig(), DecayConfig(no_decay="timm", layer_decay=0.7)):
        listed = [id(p) for group in groups(module, cfg, 0.1) for p in group["params"]]
        assert sorted(listed) == sorted(map(id, module.parameters()))


def test_a_frozen_backbone_is_in_no_group_and_in_eval_mode(
    make_checkpoint: Callable[..., Checkpoint], cpu: torch.device
) -> None:
    module = Model.of(make_checkpoint(drop_rate=0.5, proj_drop_rate=0.5), cpu).module
    freeze_all_but_the_head(module)
    listed = {id(p) for group in groups(module, DecayConfig(), 0.1) for p in group["params"]}
    assert listed == {id(module.head.weight), id(module.head.bias)}
    train_mode(module, head_only=True)
    modes = {name: part.training for name, part in module.named_modules()}
    assert {name for name, training in modes.items() if training} == {"head", "head_drop"}
    train_mode(module, head_only=False)
    assert module.training
    assert module.blocks.training


def test_both_heads_of_a_distilled_model_are_the_head() -> None:
    import timm

    module = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=8, patch_size=2, embed_dim=32, depth=1,
        num_heads=2, num_classes=3,
    )  # fmt: skip
    freeze_all_but_the_head(module)
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert trained == {f"{head}.{n}" for head in ("head", "head_dist") for n in ("weight", "bias")}


def test_a_layer_trains_at_its_own_rate(trainer: Callable[..., Any]) -> None:
    """Adam's first step has the size of the learning rate, whatever the gradient."""

    def moved(**settings: Any) -> dict[str, Tensor]:
        cfg = TrainConfig(lr=1e-3, batch_size=32, weight_decay=0.0, schedule="constant", **settings)
        made = trainer(cfg=cfg)
        named = dict(made.model.module.named_parameters())
        before = {n: t.detach().clone() for n, t in named.items()}
        made.steps(1)
        return {n: (t.detach() - before[n]).abs().max() for n, t in named.items()}

    whole, less = moved(), moved(layer_decay=0.5)
    ratio = {n: float(less[n] / whole[n]) for n in whole}
    assert ratio["head.weight"] == pytest.approx(1.0, rel=1e-3)
    assert ratio["blocks.1.mlp.fc1.weight"] == pytest.approx(0.5, rel=1e-3)
    assert ratio["blocks.0.mlp.fc1.weight"] == pytest.approx(0.25, rel=1e-3)
    assert ratio["patch_embed.proj.weight"] == pytest.approx(0.125, rel=1e-3)
