"""What token reduction costs a finished model that is not trained for it.

    python tests/benchmarks/reduction_without_training.py > .../reduction_without_training.json

The small vision transformer of the shared data (d 128, depth 4, 64 patches) on the real CIFAR-10
test images, in the order of their file; float32. Right answers are counted on the first 2,000 and
on all 10,000 images; `lost` and `gained` are images that the whole model has right or wrong. Every
setting runs again on the first 2,000 with another batch size: `other_at_batch` predictions differ,
which should be 0. Options and controls see the first 2,000 only; those that draw have three draws.
"""

import argparse
import functools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.datasets import CIFAR10

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import about
from trials.reduction import reducer_of
from trials.reduction.config import ReductionConfig, tokens_text
from trials.reduction.sampled import draw_noise
from trials.reduction.tokens import block_tokens, forward_macs
from trials.reduction.walk import forward
from trials.seeding import generator

DATA = Path(__file__).parents[3] / "shared/data"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
FIRST = 2000
BATCH, OTHER_BATCH = 100, 64
DRAWS = 3


@dataclass(frozen=True)
class Sizes:
    """Of the model below."""

    patches: int = 64
    prefix: int = 1
    depth: int = 4
    width: int = 128
    hidden: int = 256
    heads: int = 4
    patch_inputs: int = 48


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting, with what it is: published methods, and their controls."""
    yield "dense", {"method": "none"}
    for r in (4, 8, 13):
        yield "tome", {"method": "tome", "r": r}
    for blocks in ("quarters", (0, 1, 2)):
        for keep in (0.9, 0.7, 0.5):
            for fuse in (True, False):
                named = {"method": "evit", "keep": keep, "fuse": fuse, "blocks": blocks}
                yield "evit", named
    for keep in (0.9, 0.7, 0.5):
        normalised = {"method": "evit", "keep": keep, "fuse": "normalised", "blocks": "quarters"}
        yield "option", normalised
        yield "control", {"method": "random", "keep": keep, "fuse": True, "blocks": "quarters"}
    for r in (4, 8, 13):
        yield "option", {"method": "tome", "r": r, "prop_attn": False}
        yield "control", {"method": "tome", "r": r, "metric": "random"}
        yield "control", {"method": "tome", "r": r, "merge": "drop"}


@functools.cache
def read() -> tuple[Any, Tensor, Tensor]:
    """The model, its inputs (10000, 3, 32, 32) and the labels."""
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=4,
        embed_dim=128,
        depth=4,
        num_heads=4,
        mlp_ratio=2,
        num_classes=10,
    )
    model.load_state_dict(load_file(DATA / "vit-cifar10-d128/model.safetensors"))
    found = CIFAR10(str(DATA), train=False, download=False)
    pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return model.eval(), (pixels - mean) / std, torch.tensor(found.targets)


@torch.no_grad()
def predictions(
    model: Any, config: ReductionConfig, x: Tensor, batch: int, noise: Tensor | None
) -> Tensor:
    """The class of every image."""
    reducer, logits = reducer_of(config, model), []
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        own = x[part]
        drawn = None if noise is None else noise[part][: len(own)]
        logits.append(forward(model, own, reducer, noise=drawn).logits)
    return torch.cat(logits).argmax(1)


@functools.cache
def whole() -> Tensor:
    """The class of every image, nothing left out."""
    model, x, _ = read()
    return predictions(model, ReductionConfig(), x, BATCH, None)


def counts(config: ReductionConfig, images: int, draw: int) -> dict[str, int]:
    """Of one setting, on the first so many images."""
    model, x, labels = read()
    noise = None
    if config.draws:
        generated = generator(draw, "reduction", "evaluation")
        noise = draw_noise(config, len(model.blocks), len(x), Sizes().patches, generated)
    found = predictions(model, config, x[:images], BATCH, noise)
    again = predictions(model, config, x[: min(images, FIRST)], OTHER_BATCH, noise)
    before, right = (one[:images] == labels[:images] for one in (whole(), found))
    return ({"draw": draw} if config.draws else {}) | {
        "images": images,
        "right_first_2000": int(right[:FIRST].sum()),
        "right": int(right.sum()),
        "lost": int((before & ~right).sum()),
        "gained": int((~before & right).sum()),
        "other_at_batch": int((found[: len(again)] != again).sum()),
    }


def cost_of(kind: str, written: dict[str, Any]) -> dict[str, Any]:
    """What a setting costs; `macs` includes `macs_choosing`."""
    config = ReductionConfig.model_validate(written)
    tokens, macs = block_tokens(config, Sizes()), forward_macs(config, Sizes())
    return {
        "kind": kind,
        "settings": written,
        "tokens": tokens_text(tokens),
        "block_tokens": tokens,
        "macs": macs.total,
        "macs_choosing": macs.choosing,
        "macs_share": round(macs.total / forward_macs(ReductionConfig(), Sizes()).total, 4),
    }


def row(job: tuple[str, dict[str, Any], int, int]) -> dict[str, Any]:
    """All about a setting."""
    kind, written, images, draw = job
    torch.set_num_threads(1)
    found = counts(ReductionConfig.model_validate(written), images, draw)
    print(f"{written}: {found}", file=sys.stderr, flush=True)
    return cost_of(kind, written) | found


def jobs(most: int) -> Iterator[tuple[str, dict[str, Any], int, int]]:
    """What there is to do, on at most so many images."""
    for kind, written in settings():
        images = FIRST if kind in ("option", "control") else most
        for draw in range(DRAWS if ReductionConfig.model_validate(written).draws else 1):
            yield kind, written, min(images, most), draw


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    start, when = time.perf_counter(), about()
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(options.processes) as pool:
        rows = pool.map(row, list(jobs(options.images)), chunksize=1)
    found = when | {
        "batches": [BATCH, OTHER_BATCH],
        "rows": rows,
        "wall_s": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
