"""What adaptive refinement costs and whether it finds the bracket of the full grid.

    python tests/benchmarks/refinement.py > tests/benchmarks/refinement.json

Full grid: 1 % to 50 % by 1 %. Refined: the seven coarse levels of LOTUS, then bisection to 1 %.
Made-up curves (with and without noise along the levels), and a real ViT on real CIFAR-10 images.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.versions import hardware, versions
from trials.config import EssentialSection, TrialConfig
from trials.data import Dataset, Split
from trials.detect import first_violation
from trials.execute import Direct
from trials.pipeline import pipeline
from trials.sources import open_sources
from trials.stages.probe import count_probes, middle

FULL = [k / 100 for k in range(1, 51)]
COARSE = EssentialSection().levels
WIDTH = 0.01
DATA = Path(__file__).parents[3] / "shared/data"
Drop = Callable[[float], float]


def bracket(levels: list[float], drop: Drop, tolerance: float) -> tuple[float, float | None]:
    """The bracket of first_violation on some levels."""
    low = first_violation(levels, [drop(s) for s in levels], tolerance)
    return low, next((s for s in levels if s > low), None)


def refined(drop: Drop, tolerance: float) -> list[float]:
    """The levels that coarse curve and probes evaluate."""
    levels = list(COARSE)
    for _ in range(count_probes(COARSE, WIDTH)):
        new = middle(levels, [drop(s) for s in levels], tolerance, WIDTH)
        levels = sorted([*levels, *([] if new is None else [new])])
    return levels


def compare(drop: Drop, tolerance: float) -> dict[str, Any]:
    """Both ways on one curve."""
    levels = refined(drop, tolerance)
    return {
        "tolerance": tolerance,
        "evaluations": len(levels),
        "full": bracket(FULL, drop, tolerance),
        "refined": bracket(levels, drop, tolerance),
    }


def made_up(curves: int, images: int | None) -> dict[str, Any]:
    """Random hinges and powers; `images` lose or gain each at a sparsity of its own."""
    rng = np.random.default_rng(0)
    same, evaluations = [], []
    for _ in range(curves):
        begin, slope, power = rng.uniform(0, 0.5), rng.uniform(0.05, 2), rng.uniform(1, 3)
        rank = rng.random(images or 1)

        def drop(s: float, a: float = begin, b: float = slope, p: float = power) -> float:
            true = b * max(0.0, s - a) ** p
            if images is None:
                return true
            churn = 0.02 * s
            return float((rank < true + churn).mean() - (rank > 1 - churn).mean())  # noqa: B023

        found = compare(drop, float(rng.choice([0.005, 0.01, 0.02])))
        same.append(found["full"] == found["refined"])
        evaluations.append(found["evaluations"])
    return {
        "curves": curves,
        "images": images,
        "same_bracket": float(np.mean(same)),
        "evaluations_mean": float(np.mean(evaluations)),
        "evaluations_max": int(max(evaluations)),
        "evaluations_full": len(FULL),
    }


def smaller(data: Dataset, images: int) -> Dataset:
    """The first images of the validation half, and next to none of the other."""
    first = [
        Split(s.images[:n], s.labels[:n]) for s, n in ((data.validation, images), (data.test, 10))
    ]
    return dataclasses.replace(data, validation=first[0], test=first[1])


def real(images: int, tolerances: list[float]) -> list[dict[str, Any]]:
    """The d128 ViT on `images` CIFAR-10 test images, every level evaluated once."""
    trial = TrialConfig.model_validate(
        {
            "data": {"name": "cifar10", "root": DATA, "validation_from": "test",
                     "train_images": 100},
            "model": {
                "name": "vit_tiny_patch16_224",
                "pretrained": DATA / "vit-cifar10-d128/model.safetensors",
                "kwargs": {"img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 4,
                           "num_heads": 4, "mlp_ratio": 2},
                "mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616],
            },
            "dense": {"epochs": 0}, "arm": "essential", "sparsity": "auto",
            "essential": {"levels": FULL},
        }
    )  # fmt: skip
    opened = open_sources(trial.data, trial.model)
    fewer = {
        source: smaller(thing, images) if isinstance(thing, Dataset) else thing
        for source, thing in opened.objects().items()
    }
    direct = Direct(fewer)
    graph = pipeline(trial, opened.sources)
    dense = direct.get(graph.dense).validation.accuracy
    drops = {
        level: dense - direct.get(node).validation.accuracy
        for level, node in zip(FULL, graph.curve, strict=True)
    }
    return [compare(drops.__getitem__, tolerance) for tolerance in tolerances]


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=1000)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    start = time.perf_counter()
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "without_noise": made_up(options.curves, None),
        "with_noise": made_up(options.curves, 5000),
        "d128_cifar10": real(options.images, [0.002, 0.005, 0.01, 0.02, 0.05]),
        "wall_s": time.perf_counter() - start,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
