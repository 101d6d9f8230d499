"""A model on a device: what it makes of images, with all of their patches or with some.

Shapes: B batch, C channels, H W pixels, N tokens, h heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trials.errors import ModelError
from trials.lazy import F, torch
from trials.model.attention_maps import attention_maps
from trials.model.families import family_of
from trials.model.forward import Module, forward
from trials.model.shape import input_size
from trials.model.vit import Arch, Checkpoint, build_empty
from trials.reduction import REDUCERS, reducer_of, walk
from trials.reduction.attached import Attached
from trials.reduction.config import ReductionConfig
from trials.reduction.sampled import draw_noise
from trials.reduction.state import Reducer
from trials.reduction.walk import Walked
from trials.seeding import generator

if TYPE_CHECKING:
    from torch import Tensor

    from trials.tokens.kept import Kept


@dataclass(frozen=True, slots=True)
class Model:
    """A timm vision transformer on a device, and what it expects of images.

    Attributes:
        module: training changes its weights in place.
        reducer: what lets tokens leave inside; None = none leaves, and timm's own pass is run.
    """

    module: Module
    arch: Arch
    reducer: Reducer | None = field(init=False, repr=False, compare=False)
    _mean: Tensor = field(init=False, repr=False, compare=False)
    _std: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once, and not with each batch: a copy to a GPU makes the host wait.
        device = next(self.module.parameters()).device
        for name, values in (("_mean", self.arch.mean), ("_std", self.arch.std)):
            made = torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            object.__setattr__(self, name, made)
        own, reducer = self.arch.reduction, None
        if own is not None:
            reducer = reducer_of(own.config, self.module)
        object.__setattr__(self, "reducer", reducer)

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

    def __call__(self, x: Tensor, kept: Kept | None = None, noise: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of images of which only the kept patches are seen.

        Args:
            x: see `inputs`.
            kept: None = all patches.
            noise: of a reducer that draws: see `noise`.

        Raises:
            ModelError: see `trials.model.forward`.
        """
        return self.walk(x, kept, noise).logits if self.reducer else self._dense(x, kept)

    def _dense(self, x: Tensor, kept: Kept | None) -> Tensor:
        """Logits of a pass in which no token leaves inside."""
        if kept is None:
            return forward(self.module, x)
        return forward(self.module, x, kept.indices, kept.removal, padded=kept.padded)

    def walk(
        self,
        x: Tensor,
        kept: Kept | None = None,
        noise: Tensor | None = None,
        config: ReductionConfig | None = None,
    ) -> Walked:
        """The same with what else a training reads of a pass in which tokens leave.

        Args:
            config: settings for this pass; None = the model's own.

        Raises:
            ModelError: patches are hidden, or as many of each image are not kept.
        """
        reducer = self.reducer
        if config is not None:
            reducer = REDUCERS[config.method](config, self.module) if config.acts else None
        if reducer is None:
            return Walked(self._dense(x, kept), None, None)
        if kept is None:
            return walk.forward(self.module, x, reducer, None, noise)
        if kept.padded or kept.removal != "gather":
            raise ModelError(
                "tokens leave inside this model, which needs equally many patches of each image, "
                "gathered: write `tickets.removal: gather` and `tickets.scope: image`"
            )
        return walk.forward(self.module, x, reducer, kept.indices, noise)

    def noise(self, images: int, *names: str | int) -> Tensor | None:
        """What an evaluation of so many images draws, (B, stages, P, 2); None = nothing.

        Args:
            names: of the draw, such as the split; the same again = the same numbers.
        """
        own = self.arch.reduction
        if own is None or self.reducer is None or not own.config.draws:
            return None
        draw = generator(own.seed, "reduction", *names)
        depth, patches = len(self.module.blocks), self.module.patch_embed.num_patches
        return draw_noise(own.config, depth, images, patches, draw)

    def reduced_by(self, config: ReductionConfig | None) -> Model:
        """The same module under other settings of its reduction; None = no token leaves."""
        own = self.arch.reduction
        seed = 0 if own is None else own.seed
        made = None if config is None else Attached.of(config, seed)
        return Model(self.module, replace(self.arch, reduction=made))

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
