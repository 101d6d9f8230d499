"""Which weights an optimizer trains, at which share of the learning rate, with which decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from trials.model import layers
from trials.model.forward import Module
from trials.reduction import PREDICTORS
from trials.training.recipe import DecayConfig

if TYPE_CHECKING:
    from torch import Tensor

SCALE = "lr_scale"
"""Entry of a group: the factor on the learning rate, by the name that timm's schedulers know."""

HELD = "held"
"""Entry of a group: whether its rate is 0 in a training's first epochs."""


def groups(
    module: Module, cfg: DecayConfig, weight_decay: float, *, others: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimizer, of the tensors that require a gradient.

    Args:
        module: a timm model.
        weight_decay: of the tensors that have any.
        others: further factor on the rate of all that is no predictor of a reducer.

    Returns:
        Groups with `params`, `weight_decay`, `lr_scale` and `held` (not the predictors). Without
        layer-wise decay two, and two more for predictors: with and without weight decay. With it
        up to as many for each layer, from the embedding to the head, scaled by
        layer_decay ** (layers above it).

    Source: BEiT (Bao et al. 2022), as `timm.optim.param_groups_layer_decay` has it.
    """
    scales = _scales(module, cfg.layer_decay)
    found: dict[tuple[float, bool, bool], list[Tensor]] = {}
    for scale in sorted(set(scales.values())):
        for own, held in ((scale * others, True), (scale, False)):
            found |= {(own, held, True): [], (own, held, False): []}
    for name, tensor, decays in _trained(module, cfg.no_decay):
        held = not name.startswith(PREDICTORS)
        found[scales[name] * (others if held else 1.0), held, decays].append(tensor)
    return [
        {
            "params": tensors,
            "weight_decay": weight_decay if decays else 0.0,
            SCALE: scale,
            HELD: held,
        }
        for (scale, held, decays), tensors in found.items()
        if tensors
    ]


def freeze_all_but_the_head(module: Module) -> None:
    """Let only the heads have gradients."""
    head = {id(one) for part in layers.heads(module) for one in part.parameters()}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in head)


def train_mode(module: Module, *, head_only: bool) -> None:
    """Dropout and the like in all of a model, or only where the head is."""
    if not head_only:
        module.train()
        return
    module.eval()
    for part in layers.heads(module):
        part.train()


def _scales(module: Module, layer_decay: float) -> Mapping[str, float]:
    """Parameter name -> factor on the learning rate."""
    if layer_decay == 1.0:
        return {name: 1.0 for name, _ in module.named_parameters()}
    numbers = layers.numbered(module)
    last = max(numbers.values())
    return {name: layer_decay ** (last - number) for name, number in numbers.items()}


def _trained(module: Module, no_decay: str) -> Iterator[tuple[str, Tensor, bool]]:
    """Name, tensor, and whether it decays, of all that have gradients."""
    listed = layers.without_decay(module) if no_decay == "timm" else frozenset()
    for name, tensor in module.named_parameters():
        if tensor.requires_grad:
            free = tensor.ndim < 2 or any(fnmatch(name, pattern) for pattern in listed)
            yield name, tensor, not free
