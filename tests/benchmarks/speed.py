"""How fast training and evaluation are, against a loop as timm's users write it.

    .venv/bin/python tests/benchmarks/speed.py [--only digits ...] [--repeats 5] > speed.json

Every comparison takes turns within one process, and counts CPU seconds of one thread, which other
programs on the machine disturb least; seconds of the clock stand beside them. Bounds:

- training is never slower than timm's loader, optimizer and a loop by hand, and 1.2 times as fast
  at digits;
- with patches dropped, a step and an evaluation take at most 1.08 times their share of the MACs;
- masks take at most 1 % of a step of ViT-S.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from torch import Tensor

from tests.benchmarks import measuring
from trials.context import Context
from trials.data.datasets import Dataset, Split
from trials.model import cost, vit
from trials.model.attention_maps import attention_maps
from trials.model.capability import of_arch
from trials.model.module import Model
from trials.model.vit import Checkpoint, ModelConfig
from trials.sparsity import masks
from trials.tokens import tickets
from trials.tokens.patches import Patches
from trials.training import evaluation
from trials.training.masking import Masking
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

SEED = 0


@dataclass(frozen=True)
class Case:
    """A model, and how many made-up images of its size."""

    name: str
    kwargs: dict[str, Any]
    images: int
    batch_size: int


CASES = {
    "digits": Case(
        "vit_tiny_patch16_224",
        {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 64, "depth": 4}
        | {"num_heads": 4},
        960,
        64,
    ),
    "32": Case(
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 6, "num_heads": 4},
        256,
        64,
    ),
    "224": Case("vit_small_patch16_224", {}, 16, 8),
}


def data_of(case: Case) -> Dataset:
    """Images of noise; the numbers in them change nothing about the speed."""
    draw, size = np.random.default_rng(SEED), case.kwargs.get("img_size", 224)
    shape = (case.images, case.kwargs.get("in_chans", 3), size, size)

    def split() -> Split:
        images = draw.integers(0, 256, shape, dtype=np.uint8)
        return Split(images, draw.integers(0, 10, case.images))

    return Dataset("noise", "0" * 64, 10, split(), split(), split())


def start_of(case: Case) -> Checkpoint:
    """A random model."""
    cfg = ModelConfig(name=case.name, pretrained=False, kwargs=case.kwargs)
    return vit.create(cfg, classes=10, channels=case.kwargs.get("in_chans", 3), seed=SEED)


Pass = Callable[[], object]


def in_turns(repeats: int, **passes: Pass) -> dict[str, dict[str, Any]]:
    """CPU and clock seconds of each, taken in turns after one round to warm up."""
    cpu: dict[str, list[float]] = {name: [] for name in passes}
    clock: dict[str, list[float]] = {name: [] for name in passes}
    for repeat in range(repeats + 1):
        for name, run in passes.items():
            begun, spent = time.perf_counter(), time.process_time()
            run()
            if repeat:
                cpu[name].append(time.process_time() - spent)
                clock[name].append(time.perf_counter() - begun)
    return {
        name: {"cpu_s": measuring.spread(cpu[name]), "clock_s": measuring.spread(clock[name])}
        for name in passes
    }


def ratio(found: dict[str, dict[str, Any]], over: str, under: str) -> float:
    """Of the medians of CPU seconds."""
    return round(found[over]["cpu_s"]["median"] / found[under]["cpu_s"]["median"], 3)


class Pictures(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    """As timm's loader takes them."""

    def __init__(self, split: Split) -> None:
        assert isinstance(split.images, np.ndarray)
        self.images, self.labels, self.transform = split.images, split.labels, None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        pixels = self.images[index]
        found = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        image = found if self.transform is None else self.transform(found)
        return image, int(self.labels[index])


def timms_way(case: Case, data: Dataset, start: Checkpoint) -> Pass:
    """timm's loader without augmentation, its optimizer, and a loop by hand."""
    model = timm.create_model(case.name, num_classes=10, **case.kwargs)
    model.load_state_dict(start.state)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.05)
    size, channels = case.kwargs.get("img_size", 224), case.kwargs.get("in_chans", 3)
    loader = create_loader(
        Pictures(data.train),
        input_size=(channels, size, size),
        batch_size=case.batch_size,
        is_training=True,
        no_aug=True,
        use_prefetcher=False,
        num_workers=0,
        mean=start.arch.mean,
        std=start.arch.std,
        persistent_workers=False,
    )

    def epoch() -> None:
        model.train()
        for x, labels in loader:
            loss = F.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def by_hand(case: Case, data: Dataset, start: Checkpoint) -> Pass:
    """The fastest loop there is: images normalised once, torch's fused optimizer."""
    model = Model.of(start, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-4, fused=True)
    x, labels = model.inputs(torch.tensor(data.train.images)), torch.tensor(data.train.labels)

    def epoch() -> None:
        model.module.train()
        for batch in torch.randperm(len(x)).split(case.batch_size):
            loss = F.cross_entropy(model.module(x[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def trainer(case: Case, data: Dataset, start: Checkpoint, **more: Any) -> Trainer:
    cfg = TrainConfig(lr=1e-4, batch_size=case.batch_size, weight_decay=0.05, schedule="constant")
    own = Model.of(start, torch.device("cpu"))
    return Trainer(own, data, cfg, Context(), SEED, **more)


def epochs_of(made: Trainer) -> Pass:
    """Every call trains for the next epoch, without its evaluation."""
    numbers = itertools.count()
    return lambda: made._steps(next(numbers))


def against_timm(name: str, repeats: int) -> dict[str, Any]:
    """An epoch of training."""
    case = CASES[name]
    data, start = data_of(case), start_of(case)
    found = in_turns(
        repeats,
        ours=epochs_of(trainer(case, data, start)),
        timm=timms_way(case, data, start),
        by_hand=by_hand(case, data, start),
    )
    times = {"timm_over_ours": ratio(found, "timm", "ours")}
    return found | times | {"by_hand_over_ours": ratio(found, "by_hand", "ours")}


def dropping(name: str, repeats: int) -> dict[str, Any]:
    """Training and evaluating on kept patches, against all of them and their share of MACs."""
    case = CASES[name]
    data, start = data_of(case), start_of(case)
    shape = of_arch(start.arch)
    model, ctx = Model.of(start, torch.device("cpu")), Context()
    draw, found = torch.Generator().manual_seed(SEED), {}
    for drop in (0.3, 0.5, 0.7):
        count = tickets.keep_count(shape.patches, drop)
        keep = tickets.random_patches(case.images, shape.patches, count, draw)
        made = in_turns(
            repeats,
            train=epochs_of(trainer(case, data, start)),
            train_kept=epochs_of(trainer(case, data, start, patches=Patches(keep))),
            evaluate=partial(evaluation.evaluate, model, data, "train", ctx),
            evaluate_kept=partial(evaluation.evaluate, model, data, "train", ctx, keep),
        )
        share = cost.forward_macs(shape, count) / cost.forward_macs(shape)
        found[str(drop)] = {
            "macs": round(share, 4),
            "train_over_macs": round(ratio(made, "train_kept", "train") / share, 3),
            "evaluate_over_macs": round(ratio(made, "evaluate_kept", "evaluate") / share, 3),
            "seconds": made,
        }
    return found


def masking(repeats: int) -> dict[str, Any]:
    """Masks on every prunable weight of ViT-S, in parts of a step of 64 images at 224 pixels."""
    case = CASES["224"]
    start = start_of(case)
    weights = masks.prunable(start)
    keep = masks.top_k({n: w.abs() for n, w in weights.items()}, masks.size(weights) // 2)
    made = trainer(case, data_of(case), start, keep=keep)
    named = dict(made.model.module.named_parameters())
    own = Masking.of(named, keep)
    dropped = [(named[name].detach(), ~mask) for name, mask in keep.items()]

    def filling() -> None:
        for weight, where in dropped:
            weight.masked_fill_(where, 0.0)

    found = in_turns(4 * repeats, masks=own.apply, masked_fill=filling)
    step = in_turns(repeats, epoch=epochs_of(made))["epoch"]
    image_s = step["cpu_s"]["median"] / case.images
    return found | {
        "image": image_s,
        "masks_of_a_step_of_64": round(found["masks"]["cpu_s"]["median"] / (64 * image_s), 5),
        "masked_fill_of_it": round(found["masked_fill"]["cpu_s"]["median"] / (64 * image_s), 5),
    }


def capturing(name: str, repeats: int) -> dict[str, Any]:
    """Attention of the last block, and of all, against a forward pass."""
    case = CASES[name]
    start = start_of(case)
    model = Model.of(start, torch.device("cpu"))
    x = model.inputs(torch.tensor(data_of(case).train.images))

    def scores(blocks: list[int], score: tickets.MapScore) -> Tensor:
        maps = attention_maps(model.module, x, blocks)
        return tickets.patch_scores(maps, score, "cls_mean", 1, class_token=True)

    every = list(range(len(model.module.blocks)))
    with torch.no_grad():
        found = in_turns(
            repeats,
            forward=lambda: model(x),
            last=lambda: scores([-1], "cls"),
            every=lambda: scores(every, "rollout"),
        )
    last = {"last_over_forward": ratio(found, "last", "forward")}
    return found | last | {"every_over_forward": ratio(found, "every", "forward")}


def evaluating(name: str, repeats: int) -> dict[str, Any]:
    """Images at once, and whether their number changes a bit of the logits."""
    case = CASES[name]
    start = start_of(case)
    model = Model.of(start, torch.device("cpu"))
    draw = torch.Generator().manual_seed(SEED)
    size, channels = case.kwargs.get("img_size", 224), case.kwargs.get("in_chans", 3)
    x = torch.randn(512 if size < 224 else 64, channels, size, size, generator=draw)
    sizes = [n for n in (16, 32, 64, 128, 256, 512) if n <= len(x)]

    def logits(at_once: int) -> Tensor:
        return torch.cat([model(part) for part in x.split(at_once)])

    with torch.no_grad():
        whole = logits(len(x))
        equal = {n: torch.equal(logits(n), whole) for n in sizes}
        found = in_turns(repeats, **{str(n): partial(logits, n) for n in sizes})
    return {str(n): found[str(n)] | {"same_bits": equal[n]} for n in sizes}


def choosing(repeats: int) -> dict[str, Any]:
    """The 50 million largest of 100 million scores."""
    draw = torch.Generator().manual_seed(SEED)
    scores = {f"{i}": torch.rand(4_000_000, generator=draw) for i in range(25)}
    return in_turns(repeats, top_k=lambda: masks.top_k(scores, 50_000_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in CASES:
        parts[f"training at {name}"] = partial(against_timm, name, asked.repeats)
        parts[f"dropping at {name}"] = partial(dropping, name, asked.repeats)
        parts[f"attention at {name}"] = partial(capturing, name, asked.repeats)
        parts[f"batches at {name}"] = partial(evaluating, name, asked.repeats)
    parts |= {"masks": partial(masking, asked.repeats), "top_k": partial(choosing, 2)}
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if not asked.only or any(one in name for one in asked.only):
            found[name] = part()
            print(name, json.dumps(found[name])[:300], file=sys.stderr, flush=True)
    load = round(os.getloadavg()[0], 2)
    print(json.dumps(measuring.about() | {"threads": 1, "load_after": load} | found, indent=1))


if __name__ == "__main__":
    main()
