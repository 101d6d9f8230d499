"""Chance in place of a method: the control, and the noise that methods draw.

All noise is drawn before a batch is cut, so that nothing but rounding depends on where; the
forward pass itself draws nothing.

Shapes: B images, P patches of the grid, n tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.lazy import torch
from trials.reduction.config import ReductionConfig
from trials.reduction.state import Module, Reducer, Seen, State, best, take_patches
from trials.reduction.tokens import left_after

if TYPE_CHECKING:
    from torch import Tensor


def draw_noise(
    config: ReductionConfig, depth: int, images: int, patches: int, draw: torch.Generator
) -> Tensor:
    """What a pass over some images needs, whoever reads it.

    Args:
        depth: blocks of the model.
        patches: P.
        draw: a generator on the CPU, such as `generator(seed, "reduction", epoch)`.

    Returns:
        (B, stages, P, 2) float32 in [0, 1); a stage is a block in which tokens leave.
    """
    stages = depth if config.method == "tome" else len(config.stages(depth))
    return torch.rand(images, stages, patches, 2, generator=draw)


def needed(state: State) -> Tensor:
    """The noise.

    Raises:
        ValueError: there is none.
    """
    if state.noise is None:
        raise ValueError("this reduction draws at random: draw_noise has to come before the batch")
    return state.noise


@dataclass(frozen=True, slots=True)
class Sampled(Reducer):
    """Keeps random patches, as many as EViT with the same settings has tokens.

    Where EViT fuses, one patch more stays in the fused token's place: the control differs in who
    stays, not in how many.

    Attributes:
        stages: the blocks at which patches leave.
        whole: P.
    """

    config: ReductionConfig
    stages: tuple[int, ...]
    whole: int

    def between(self, block: int, x: Tensor, seen: Seen, state: State) -> tuple[Tensor, State]:
        """Those whose patch has drawn the largest numbers, whatever the order of the tokens."""
        if block not in self.stages:
            return x, state
        there, stage = x.shape[1] - self.prefix, self.stages.index(block)
        count = left_after(
            self.config, block, stage, there, whole=self.whole, entered=state.entered
        )
        if count == there:
            return x, state
        drawn = needed(state)[:, stage, :, 0].to(x.device).gather(1, state.places)
        return take_patches(x, state, best(drawn, count), self.prefix)


def reducer(config: ReductionConfig, model: Module) -> Reducer:
    """Of a model that has passed `trials.reduction.refusals`."""
    return Sampled(
        prefix=model.num_prefix_tokens,
        config=config,
        stages=config.stages(len(model.blocks)),
        whole=model.patch_embed.num_patches,
    )
