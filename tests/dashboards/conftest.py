"""Made-up sweeps for the report's tests. TEST DATA: no number here was ever measured."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dashboards import Picture, ReportData
from orchestrator.selection import summarise
from orchestrator.selection.series import finetuning
from orchestrator.selection.settings import group_settings
from tests.chromium import Chromium, browser

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5)
DROPS = (0.1, 0.3)
FRACTIONS = (0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
DENSE = 0.971
IMAGES = {"val": 5_000, "test": 10_000}
TUNED = 0.003  # what fine-tuning brings the dense model
PENALTY = {
    "dense": 0.0,
    "tickets": 0.001,
    "essential": 0.002,
    "issp": 0.002,
    "lotus": 0.002,
    "random_patches": 0.02,
    "random_mask": 0.2,
    "magnitude": 0.012,
}
USES = {
    "dense": (),
    "tickets": ("patch_drop",),
    "essential": ("sparsity",),
    "issp": ("sparsity", "mask_data_fraction"),
    "random_mask": ("sparsity", "patch_drop"),
    "magnitude": ("sparsity", "patch_drop"),
}
ALL = ("sparsity", "patch_drop", "mask_data_fraction")
RECOMMENDED = "lotus-s0.30-d0.10-f0.10"


def png(shade: int = 90, width: int = 640, height: int = 200) -> bytes:
    """A grid of grey squares, as a stand-in for a ticket picture."""
    y, x = np.mgrid[:height, :width]
    pixels = np.where((x // 20 + y // 20) % 3 == 0, 235, shade + x * 100 // width)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def lost_in_one_shot(level: float) -> float:
    """By magnitude alone: 0.7 points at 30 %, 1.5 at 40 %."""
    return 0.002 + 0.3 * level**3.4


def measured(prefix: str, split: str, accuracy: float, dense: float) -> dict[str, float]:
    """An accuracy in whole images, with the images lost and gained against the dense model."""
    n = IMAGES[split]
    own, before = round(accuracy * n), round(dense * n)
    counts = {"lost": 15 + max(0, before - own), "gained": 15 + max(0, own - before)}
    found = {f"{prefix}{split}_{name}": float(count) for name, count in counts.items()}
    return found | {f"{prefix}{split}_accuracy": own / n}


def masked(arm: str, axes: dict[str, float], final: float, dense: float) -> dict[str, Any]:
    """What the masks of a trial have measured before fine-tuning."""
    s, f = axes["sparsity"], axes.get("mask_data_fraction", 0.1)
    row: dict[str, Any] = {}
    if arm in ("essential", "issp", "lotus", "random_patches"):
        row |= measured("essential/", "val", dense - lost_in_one_shot(s), dense)
        row |= {"essential/sparsity": s}
    if "mask_data_fraction" in axes:
        row |= measured("issp/", "val", final - 0.4 * s + 0.05 * f, dense)
        row |= {"issp/sparsity": s + 0.2, "time/issp_s": 120 * f}
    if arm in ("random_mask", "magnitude"):
        row |= measured("control/", "val", final - 0.5 * s, dense)
        row |= {"control/sparsity": s + 0.2}
    return row


def trial(rng: np.random.Generator, arm: str, axes: dict[str, float], seed: int) -> dict[str, Any]:
    """One finished trial with metrics that look like the real thing."""
    s, q, f = (float(np.nan_to_num(axes.get(a, np.nan))) for a in ALL)
    hurt = PENALTY[arm] * (0.4 + 2 * s) + 0.001 * f + (0.02 if s > 0.35 else 0)
    dense = DENSE + 0.001 * (seed - 1)
    final = dense + TUNED - hurt + rng.normal(0, 0.0004)
    deployed = final - (0.002 if q < 0.2 else 0.02) * (q > 0)
    letters = {"sparsity": "s", "patch_drop": "d", "mask_data_fraction": "f"}
    parts = [arm, *(f"{letters[a]}{axes[a]:.2f}" for a in ALL if a in axes), f"seed{seed}"]
    place = "-".join(parts[:-1])
    row = {"name": "-".join(parts), "arm": arm, "status": "FINISHED", "seed": seed, **axes}
    row |= {"dense/val_n": IMAGES["val"], "dense/test_n": IMAGES["test"]}
    row |= {"dense/val_accuracy": round(dense * 5_000) / 5_000}
    row |= {"dense/test_accuracy": round((dense - 0.003) * 10_000) / 10_000}
    for split, shift in (("val", 0.0), ("test", -0.003)):
        row |= measured("final/", split, final + shift, dense + shift)
        row |= measured("final/deployed_", split, deployed + shift, dense + shift)
    if q:
        row |= {"final/test_accuracy_ticket": row["final/deployed_test_accuracy"]}
    sparsity = 0.0 if not s else s if arm == "essential" else s + 0.2
    row |= {"final/sparsity": sparsity, "final/sparsity_model": 0.98 * sparsity}
    if s:
        row |= masked(arm, axes, final, dense)
        row |= {"stage.essential": f"essential-s{s}-{seed}"}
    row |= {"final/epochs_to_near_dense": 3.0 if hurt < 0.01 else np.nan}
    row |= {"final/train_images_per_s": 410 / (1 - 0.9 * q) + rng.normal(0, 9)}
    chosen = 0.2e9 if q and arm != "random_patches" else 0.0
    row |= {"final/macs": 4.6e9 * (1 - q), "final/macs_dense": 4.6e9}
    row |= {"final/macs_selector": chosen, "final/macs_deployed": 4.6e9 * (1 - q) + chosen}
    row |= {"final/macs_training": 4.6e9 * (1 - q) * 3 * 50_000}
    row |= {"profile/images_per_s": 900 / (1 - 0.8 * q), "profile/images_per_s_dense": 900.0}
    row |= {"time/finetune_s": rng.uniform(300, 420)}
    row |= {"time/dense_s": 640.0 if seed == 0 else np.nan, "cache/saved_s": 640.0}
    row |= {"stage.dense": f"dense-{seed}", "stage.finetune": f"finetune-{place}-{seed}"}
    return row | {"time/total_s": 520.0, "issp.merge": "vote_topk", "model.name": "vit_small"}


def make_trials() -> pd.DataFrame:
    """Every arm on its own axes, three seeds, one failed trial."""
    rng = np.random.default_rng(0)
    rows = []
    for arm in PENALTY:
        grid: list[dict[str, float]] = [{}]
        for axis, values in zip(ALL, (LEVELS, DROPS, FRACTIONS), strict=True):
            if axis in USES.get(arm, ALL):
                grid = [g | {axis: v} for g in grid for v in values]
        rows += [trial(rng, arm, axes, seed) for axes in grid for seed in SEEDS]
    frame = pd.DataFrame(rows)
    frame.insert(0, "run_id", [f"{i:032x}" for i in range(len(frame))])
    frame.insert(1, "key", [f"{i * 7919:064x}"[::-1] for i in range(len(frame))])
    frame["error"] = pd.Series(None, index=frame.index, dtype=object)
    last = frame.index[-1]
    metrics = [c for c in frame.columns if "/" in c]
    frame.loc[last, metrics] = np.nan
    frame.loc[last, "status"] = "FAILED"
    frame.loc[last, "error"] = (
        'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n'
        "\x1b[31mRuntimeError\x1b[0m: out of memory on device 0"
    )
    return frame


def make_curves(trials: pd.DataFrame, epochs: int = 5) -> dict[str, list[tuple[int, float]]]:
    """Five epochs for every finished trial, rising to its final accuracy."""
    done = trials[trials["status"] == "FINISHED"]
    return {
        row["key"]: [
            (e, row["final/val_accuracy"] - 0.09 * np.exp(-e) * (1 + (row["arm"] == "lotus")))
            for e in range(1, epochs + 1)
        ]
        for row in done.to_dict("records")
    }


def make_summary(trials: pd.DataFrame, **options: Any) -> dict[str, Any]:
    """The summary as the product makes it, with the series that it reads beside the trials."""
    given = {
        "sweep": "cifar10-vit-small",
        "planned": len(trials) + 2,
        "device": "cpu",
        "device_hours": 14.2,
        "device_hours_saved": 22.6,
        "wall_s": float("nan"),
        "extra_warnings": ["A warning of `somebody` else."],
    }
    found = summarise(trials, **(given | options))
    lines = finetuning(group_settings(trials), make_curves(trials))
    return found | {"overlap": make_overlap(), "layers": make_layers(), "finetuning": lines}


def make_overlap(blocks: int = 12) -> dict[str, Any]:
    """Overlap of masks by seed, fraction and level, and among ingredients."""
    groups = []
    for varies, between, pairs, mean in (
        ("seed", None, 6, 0.62),
        ("fraction", None, 3, 0.84),
        ("fraction", [0.1, 0.3], 2, 0.86),
        ("fraction", [0.1, 1.0], 1, 0.8),
        ("level", None, 3, 0.9),
        ("ingredients", None, None, 0.95),
    ):
        row = {"varies": varies, "between": between, "n_pairs": pairs, "n_masks": 4, "mean": mean}
        row |= {"lowest": mean - 0.03, "highest": mean + 0.02}
        groups.append(row | {"random": None if varies == "ingredients" else 0.33})
    kinds = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    layers = [
        {"layer": f"blocks.{b}.{kind}.weight", "seed": 0.5 + 0.02 * b + 0.03 * i,
         "fraction": 0.75 + 0.01 * b + 0.02 * i, "level": None, "random": 0.3 + 0.005 * b}
        for b in range(blocks) for i, kind in enumerate(kinds)
    ]  # fmt: skip
    return {"groups": groups, "layers": layers}


def make_layers(blocks: int = 12) -> list[dict[str, Any]]:
    """What three masks keep of each layer."""
    place = {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}
    return [
        {
            "mask": mask, "arm": arm, "shared": [], "setting": place, "n": 3,
            "layers": [{"layer": f"blocks.{b}.{kind}.weight", "kept": kept - 0.01 * b}
                       for b in range(blocks) for kind in ("attn.qkv", "mlp.fc1", "mlp.fc2")],
        }
        for mask, arm, kept in (("essential", "lotus", 0.7), ("final", "lotus", 0.5),
                                ("final", "magnitude", 0.48))
    ]  # fmt: skip


def make_gallery(name: str = "cat", side: int = 14) -> tuple[dict[str, Any], ...]:
    """What two trials have recorded of three images."""
    patches = side * side
    picture = f"data:image/png;base64,{base64.b64encode(png(90, 28, 28)).decode()}"
    return tuple(
        {
            "split": "validation", "patch_drop": drop, "columns": side,
            "images": [
                {
                    "picture": picture, "class": {"number": i, "name": f"{name} {i}"},
                    "predicted": {"number": 0, "name": f"{name} 0"}, "right": i == 0,
                    "attention": [(p * (i + 3)) % 17 / 17 for p in range(patches)],
                    "kept": "".join(str(int(p % 10 >= 10 * drop)) for p in range(patches)),
                }
                for i in range(3)
            ],
        }
        for drop in DROPS
    )  # fmt: skip


@pytest.fixture(scope="session")
def full() -> ReportData:
    """A sweep with every arm, made up."""
    trials = make_trials()
    return ReportData(
        summary=make_summary(trials),
        trials=trials,
        pictures=tuple(
            Picture(title=f"lotus-d{d:.2f}", patch_drop=d, png=png(int(60 + 100 * d)))
            for d in (0.0, 0.1, 0.3, 0.5, 0.1)
        ),
        sweep_yaml="name: cifar10-vit-small\ntracking: {uri: postgresql://lotus:hunter2@db/ml}\n",
        command="lotus report cifar10.yaml",
        facts={
            "made at": "2026-01-01T00:00:00Z",
            "tracking": "postgresql://lotus:hunter2@db/ml",
            "hardware": "TEST DATA, made up",
        },
    )


@pytest.fixture(scope="session")
def empty() -> ReportData:
    """A sweep of which nothing has run."""
    return ReportData(
        summary={
            "sweep": "new",
            "confidence": 0.95,
            "trials": {"planned": 12, "finished": 0, "failed": 0},
            "dense": {"val_accuracy": None, "test_accuracy": None, "n": 0},
            "essential_sparsity": None,
            "arms": [],
            "recommended": None,
            "cost": {"device": "cpu", "device_hours": 0.0, "device_hours_saved": 0.0},
            "not_measured": [],
            "warnings": [],
        },
        trials=pd.DataFrame(),
        pictures=(),
        sweep_yaml="name: new\n",
        facts={},
    )


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="session")
def pages(
    full: ReportData, empty: ReportData, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Pages of made-up sweeps, by what they are of."""
    from tests.dashboards.in_browser import write_pages

    return write_pages(full, empty, tmp_path_factory.mktemp("pages"))
