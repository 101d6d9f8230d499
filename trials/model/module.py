"""A model on a device: what it makes of images, with all of their patches or with some.

Shapes: B batch, C channels, H W pixels, N tokens, h heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trials.errors import ModelError
from trials.lazy import F, torch
from trials.model.attention_maps import attention_maps
from trials.model.families import family_of
from trials.model.forward import Module, forward
from trials.model.shape import input_size
from trials.model.vit import Arch, Checkpoint, build_empty

if TYPE_CHECKING:
    from torch import Tensor

    from trials.tokens.kept import Kept


@dataclass(frozen=True, slots=True)
class Model:
    """A timm vision transformer on a device, and what it expects of images.

    Attributes:
        module: training changes its weights in place.
    """

    module: Module
    arch: Arch
    _mean: Tensor = field(init=False, repr=False, compare=False)
    _std: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once, and not with each batch: a copy to a GPU makes the host wait.
        device = next(self.module.parameters()).device
        for name, values in (("_mean", self.arch.mean), ("_std", self.arch.std)):
            made = torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            object.__setattr__(self, name, made)

    @classmethod
    def of(cls, checkpoint: Checkpoint, device: torch.device) -> Model:
        """A fresh module with the checkpoint's weights, in eval mode.

        Raises:
            ModelError: the weights are not those of the architecture.
        """
        module = build_empty(checkpoint.arch)
        misfit = module.state_dict().keys() ^ checkpoint.state.keys()
        if misfit:
            name = checkpoint.arch.name
            raise ModelError(f"the checkpoint does not fit {name}: {sorted(misfit)}")
        module.load_state_dict({n: t.clone() for n, t in checkpoint.state.items()}, assign=True)
        _fill_buffers(module)
        return cls(module.to(device).requires_grad_(True).eval(), checkpoint.arch)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that it expects."""
        return input_size(self.module)

    @property
    def has_class_token(self) -> bool:
        """Whether its first token is a class token."""
        return family_of(self.module).has_class_token(self.module)

    @property
    def columns(self) -> int:
        """Patches in a row of its grid."""
        return int(self.module.patch_embed.grid_size[1])

    def inputs(self, images: Tensor) -> Tensor:
        """Images as it takes them: resized (bicubic, antialias) and normalised.

        Args:
            images: uint8 (B, C, any, any).

        Returns:
            (B, C, H, W) float32.
        """
        x = images.float() / 255.0
        if tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(
                x, size=self.size, mode="bicubic", antialias=True, align_corners=False
            )
            x = x.clamp_(0.0, 1.0)
        return (x - self._mean) / self._std

    def __call__(self, x: Tensor, kept: Kept | None = None) -> Tensor:
        """Logits (B, classes) of images of which only the kept patches are seen.

        Args:
            x: see `inputs`.
            kept: None = all patches.

        Raises:
            ModelError: see `trials.model.forward`.
        """
        if kept is None:
            return forward(self.module, x)
        return forward(self.module, x, kept.indices, kept.removal, padded=kept.padded)

    def attention(self, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Softmax attention of the named blocks, (B, h, N, N) each: see `attention_maps`."""
        return attention_maps(self.module, x, blocks)

    def checkpoint(self) -> Checkpoint:
        """Its weights, on the CPU."""
        state = {n: t.detach().cpu().clone() for n, t in self.module.state_dict().items()}
        return Checkpoint(self.arch, state)


def _fill_buffers(module: Module) -> None:
    """Compute what follows from the architecture alone, which no checkpoint holds."""
    for part in module.modules():
        empty = [(n, b) for n, b in part.named_buffers(recurse=False) if b.is_meta]
        for name, buffer in empty:
            setattr(part, name, torch.empty_like(buffer, device="cpu"))
        if empty:
            part.init_non_persistent_buffers()
