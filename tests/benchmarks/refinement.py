"""What adaptive refinement costs and whether it finds the bracket of the full grid.

    python tests/benchmarks/refinement.py > tests/benchmarks/refinement.json

Full grid: 1 % to 50 % by 1 %. Refined: the seven coarse levels of LOTUS, then bisection to 1 %.
Made-up curves (with and without noise along the levels), and a real ViT on real CIFAR-10 images,
cut into disjoint sets of several sizes: the fewer images, the more a measured curve wavers.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.versions import hardware, versions
from trials.config import EssentialSection, TrialConfig
from trials.graph.execute import Direct
from trials.graph.pipeline import pipeline
from trials.graph.sources import open_sources
from trials.sparsity.detect import first_violation
from trials.stages.probe import Point, count_probes, next_level

FULL = [k / 100 for k in range(1, 51)]
COARSE = EssentialSection().levels
WIDTH = 0.01
DATA = Path(__file__).parents[3] / "shared/data"
TOLERANCES = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)
SIZES = (500, 1000, 2500, 5000)


class Curve:
    """Which images (columns) are right at level 0 and every level of FULL (rows)."""

    def __init__(self, images: Tensor) -> None:
        right = images.double().mean(1)
        rows = zip((0.0, *FULL), images, right, strict=True)
        self.points = {s: Point(s, float(right[0] - mine), row) for s, row, mine in rows}

    def bracket(self, levels: list[float], tolerance: float) -> tuple[float, float | None]:
        """The bracket of first_violation on some levels."""
        low = first_violation(levels, [self.points[s].drop for s in levels], tolerance)
        return low, next((s for s in levels if s > low), None)

    def refined(self, tolerance: float) -> list[float]:
        """The levels that coarse curve and probes evaluate."""
        levels = [0.0, *COARSE]
        for left in range(count_probes(COARSE, WIDTH), 0, -1):
            points = [self.points[s] for s in levels]
            new = next_level(points, tolerance, WIDTH, left)
            levels = sorted([*levels, *([] if new is None else [new])])
        return levels[1:]

    def compare(self, tolerance: float) -> dict[str, Any]:
        """Both ways."""
        levels = self.refined(tolerance)
        full, found = self.bracket(FULL, tolerance), self.bracket(levels, tolerance)
        return {
            "tolerance": tolerance,
            "evaluations": len(levels),
            "full": full,
            "refined": found,
            "same": full == found,
        }


def summary(found: list[dict[str, Any]], images: int) -> dict[str, Any]:
    """How often the bracket was the same, and at what cost."""
    counts = [one["evaluations"] for one in found]
    return {
        "images": images,
        "comparisons": len(found),
        "same_bracket": sum(one["same"] for one in found) / len(found),
        "evaluations_mean": sum(counts) / len(counts),
        "evaluations_max": max(counts),
        "evaluations_full": len(FULL),
    }


def made_up(curves: int, images: int, churn: float) -> dict[str, Any]:
    """Random hinges and powers; `churn` * s of the images get lost, and as many come back."""
    draw = torch.Generator().manual_seed(0)

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=draw))

    found = []
    for _ in range(curves):
        begin, slope, power = between(0, 0.5), between(0.05, 1.5), between(1, 3)
        dense = torch.arange(images) < 0.8 * images
        rank = torch.rand(images, generator=draw)
        rows = [dense]
        for s in FULL:
            loss = min(0.8, slope * max(0.0, s - begin) ** power + churn * s)
            rows.append(torch.where(dense, rank >= loss / 0.8, rank < churn * s / 0.2))
        at = TOLERANCES[int(torch.randint(len(TOLERANCES), (), generator=draw))]
        found.append(Curve(torch.stack(rows)).compare(at))
    return summary(found, images) | {"churn": churn}


def measured(images: int) -> Tensor:
    """The d128 ViT on CIFAR-10 test images at every level: bool (1 + levels, images)."""
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
    direct, graph = Direct(opened.objects()), pipeline(trial, opened.sources)
    rows = [direct.get(graph.dense).validation.correct]
    for level, node in zip(FULL, graph.curve, strict=True):
        rows.append(direct.get(node).validation.correct)
        print(f"measured {level:g}", file=sys.stderr)
    return torch.stack(rows)[:, :images]


def real(images: Tensor, size: int) -> dict[str, Any]:
    """Every tolerance on every disjoint set of `size` images."""
    sets = [part for part in images.split(size, dim=1) if part.shape[1] == size]
    found = [Curve(part).compare(tolerance) for part in sets for tolerance in TOLERANCES]
    return summary(found, size) | {"sets": len(sets)}


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=1000)
    options = parser.parse_args()
    start = time.perf_counter()
    images = measured(max(SIZES))
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "without_noise": made_up(options.curves, 5000, 0.0),
        "with_noise": made_up(options.curves, 5000, 0.02),
        "d128_cifar10": [real(images, size) for size in SIZES],
        "d128_cifar10_5000": [Curve(images).compare(tolerance) for tolerance in TOLERANCES],
        "wall_s": time.perf_counter() - start,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
