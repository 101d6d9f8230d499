"""What a forward pass costs with and without the dropped patches: counted and measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from trials.context import Context
from trials.data.datasets import Dataset
from trials.lazy import torch
from trials.model import cost, vit
from trials.model.capability import Capability, of_arch
from trials.model.module import Model
from trials.model.vit import ModelConfig
from trials.precision import autocast
from trials.reduction.config import ReductionConfig
from trials.seeding import generator
from trials.stage import StageConfig, stage
from trials.stages.pretrained import PretrainedConfig
from trials.stages.tickets import Tickets
from trials.tokens import tickets as algebra
from trials.tokens.kept import Kept, Removal

BATCH = 256
REPEATS = 5


class ProfileConfig(StageConfig):
    """The architecture and how many patches it sees.

    Attributes:
        counted: the formula of a plain transformer is not the architecture's. In no key where it
            is, so that what was stored when there was only the formula stays valid.
        reduction: how tokens leave inside; None = none does, and it is in no key.
    """

    model: PretrainedConfig
    counted: bool = Field(False, exclude_if=lambda counted: not counted)
    patch_drop: float = Field(0.0, ge=0, lt=1)
    removal: Removal = "gather"
    reduction: ReductionConfig | None = Field(None, exclude_if=lambda one: one is None)


@dataclass(frozen=True, slots=True)
class Profile:
    """Multiply-accumulates per image, and inference speed in images a second.

    Speeds are the medians of interleaved passes on whatever machine computed the stage.
    """

    macs: float
    macs_dense: float
    images_per_s: float
    images_per_s_dense: float
    parameters: int


@stage("profile", version=1)
def profile(
    cfg: ProfileConfig, ctx: Context, *, data: Dataset, tickets: Tickets | None = None
) -> Profile:
    """Count from the real number of tokens, and time both variants in one run.

    The weights do not matter for either, so the model is a random one.

    Args:
        tickets: for images that differ in the number of their patches: the cost is then the mean
            over the test images; None = all keep the same number.
    """
    model = cfg.model.part(ModelConfig, pretrained=False)
    made = vit.create(model, classes=data.classes, channels=data.channels, seed=0)
    if cfg.reduction is not None:
        made = vit.reducing(made, cfg.reduction, seed=0)
    architecture = of_arch(made.arch)
    count = algebra.keep_count(architecture.patches, cfg.patch_drop)
    built = Model.of(made, ctx.device)
    images, _ = data.on(ctx.device, "train")
    x = built.inputs(images[: ctx.at_once(BATCH)])
    keep = algebra.random_patches(len(x), architecture.patches, count, generator(0, "profile"))
    if tickets is not None:
        keep = tickets.train[: len(x)]
    kept = Kept.of_tickets(keep, cfg.removal).to(ctx.device)
    whole = built.reduced_by(None)
    noise = built.noise(len(x), "profile")
    with torch.no_grad(), autocast(made.arch.eval_precision, ctx.device):
        dense_s, kept_s = _time(ctx, lambda: whole(x), lambda: built(x, kept, noise))
    counts = [count] if tickets is None else [int(n) for n in tickets.test.sum(1)]
    return Profile(
        macs=_macs(cfg, architecture, counts),
        macs_dense=cost.forward_macs(architecture),
        images_per_s=len(x) / kept_s,
        images_per_s_dense=len(x) / dense_s,
        parameters=sum(tensor.numel() for tensor in made.state.values()),
    )


def _macs(cfg: ProfileConfig, model: Capability, counts: list[int]) -> float:
    """Of an image on average, by how many patches of each enter."""
    if cfg.reduction is not None:
        return cost.reduced_macs(model, cfg.reduction, counts[0])
    if cfg.removal != "gather":
        return cost.forward_macs(model)
    return cost.mean_forward_macs(model, counts)


def _time(ctx: Context, *passes: Callable[[], torch.Tensor]) -> list[float]:
    """Median seconds of each pass, interleaved after one warm-up."""
    seconds: list[list[float]] = [[] for _ in passes]
    for repeat in range(REPEATS + 1):
        for run, times in zip(passes, seconds, strict=True):
            start = time.perf_counter()
            run()
            ctx.synchronise()
            if repeat:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]
