"""The layers of a timm model from below, its heads, and what of it takes no weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.model.forward import Module

if TYPE_CHECKING:
    from torch import nn


def numbered(module: Module) -> dict[str, int]:
    """Parameter name -> number of its layer: 0 is the embedding, the head is the last."""
    from timm.models import group_parameters

    found: dict[str, int] = group_parameters(
        module, module.group_matcher(coarse=False), reverse=True
    )
    return found


def without_decay(module: Module) -> frozenset[str]:
    """Names, or patterns of names, of the parameters that timm trains without weight decay."""
    listed = getattr(module, "no_weight_decay", None)
    return frozenset(listed() if listed is not None else ())


def heads(module: Module) -> list[nn.Module]:
    """What stands behind the features: the head, or both of a distilled model, and its dropout."""
    found = module.get_classifier()
    parts = list(found) if isinstance(found, tuple | list) else [found]
    dropout = getattr(module, "head_drop", None)
    return parts if dropout is None else [*parts, dropout]
