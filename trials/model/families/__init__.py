"""The kinds of timm transformers whose patches can leave between the embedding and the blocks.

A family is one small file: how it embeds an image, what its attention knows of positions beyond
the tokens, and how its blocks run on some of the patches. Everything else is common.
"""

from __future__ import annotations

from trials.errors import ModelError
from trials.model.families.beit import Beit
from trials.model.families.eva import Eva
from trials.model.families.family import Embedded, Family, Module, hidden, take
from trials.model.families.vit import Vit

FAMILIES: dict[str, Family] = {
    "timm.models.vision_transformer.VisionTransformer": Vit(),
    "timm.models.deit.VisionTransformerDistilled": Vit(),
    "timm.models.eva.Eva": Eva(),
    "timm.models.beit.Beit": Beit(),
}
"""Class of timm -> what runs its models. By name, because importing timm takes seconds."""

HOMES = frozenset(
    {
        "timm.models.vision_transformer",
        "timm.models.vision_transformer_hybrid",
        "timm.models.deit",
        "timm.models.eva",
        "timm.models.beit",
    }
)
"""The modules of timm that make models of these classes."""

OWN = ("forward", "forward_features", "forward_head", "_pos_embed")
"""What a subclass may not replace: the families do the same in other words."""


def family_of(model: Module) -> Family:
    """What runs a model.

    Raises:
        ModelError: no family does.
    """
    kind = type(model)
    for base in kind.__mro__:
        family = FAMILIES.get(f"{base.__module__}.{base.__qualname__}")
        if family is not None:
            if all(getattr(kind, name, None) is getattr(base, name, None) for name in OWN):
                return family
            break
    raise ModelError(
        f"is a {kind.__name__}, which is none of timm's VisionTransformer, Eva and Beit: its "
        "patches cannot be left out. docs/models.md lists what works"
    )


__all__ = ["FAMILIES", "HOMES", "Embedded", "Family", "Module", "family_of", "hidden", "take"]
