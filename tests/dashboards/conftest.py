"""Made-up sweeps for the report's tests. TEST DATA: no number here was ever measured."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dashboards import Picture, ReportData

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5)
DROPS = (0.1, 0.3)
FRACTIONS = (0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
DENSE = 0.971
PENALTY = {
    "dense": 0.0,
    "tickets": 0.002,
    "essential": 0.006,
    "issp": 0.009,
    "lotus": 0.011,
    "random_patches": 0.024,
    "random_mask": 0.27,
    "magnitude": 0.016,
}
USES = {
    "dense": (),
    "tickets": ("patch_drop",),
    "essential": ("sparsity",),
    "magnitude": ("sparsity",),
    "issp": ("sparsity", "mask_data_fraction"),
    "random_mask": ("sparsity", "mask_data_fraction"),
}
ALL = ("sparsity", "patch_drop", "mask_data_fraction")


def png(shade: int = 90, width: int = 640, height: int = 200) -> bytes:
    """A grid of grey squares, as a stand-in for a ticket picture."""
    y, x = np.mgrid[:height, :width]
    pixels = np.where((x // 20 + y // 20) % 3 == 0, 235, shade + x * 100 // width)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def trial(rng: np.random.Generator, arm: str, axes: dict[str, float], seed: int) -> dict[str, Any]:
    """One finished trial with metrics that look like the real thing."""
    s, q, f = (axes.get(a, np.nan) for a in ALL)
    hurt = PENALTY[arm] * (0.4 + 2 * np.nan_to_num(s)) + 0.008 * np.nan_to_num(q)
    val = DENSE - hurt + rng.normal(0, 0.002)
    letters = {"sparsity": "s", "patch_drop": "d", "mask_data_fraction": "f"}
    parts = [arm, *(f"{letters[a]}{axes[a]:.2f}" for a in ALL if a in axes), f"seed{seed}"]
    row = {"name": "-".join(parts), "arm": arm, "status": "FINISHED", "seed": seed, **axes}
    row |= {"dense/val_accuracy": DENSE, "final/val_accuracy": val}
    row |= {"final/test_accuracy": val - 0.003, "final/test_accuracy_ticket": val - 0.006}
    if "mask_data_fraction" in axes:
        row |= {"issp/val_accuracy": val - 0.4 * s + 0.05 * f, "issp/sparsity": s}
    row |= {"final/sparsity": s, "final/sparsity_model": 0.98 * s}
    row |= {"final/epochs_to_near_dense": 3.0 if hurt < 0.01 else np.nan}
    row |= {"final/train_images_per_s": 410 / (1 - 0.9 * np.nan_to_num(q)) + rng.normal(0, 9)}
    row |= {"final/macs": 4.6e9 * (1 - np.nan_to_num(q)), "final/macs_dense": 4.6e9}
    row |= {"time/finetune_s": rng.uniform(300, 420), "time/issp_s": 120 * np.nan_to_num(f, nan=0)}
    row |= {"time/dense_s": 640.0 if seed == 0 else np.nan, "cache/saved_s": 640.0}
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


def make_curves(trials: pd.DataFrame, epochs: int = 5) -> pd.DataFrame:
    """Five epochs for every finished trial, rising to its final accuracy."""
    done = trials[trials["status"] == "FINISHED"]
    epoch = np.tile(np.arange(1, epochs + 1), len(done))
    head = done[["key", "name", "arm", "seed"]].loc[done.index.repeat(epochs)]
    final = done["final/val_accuracy"].repeat(epochs).to_numpy()
    accuracy = final - 0.09 * np.exp(-epoch) * (1 + (head["arm"] == "lotus").to_numpy())
    losses = {"train_loss": 2 * np.exp(-epoch / 2), "val_loss": 2.2 * np.exp(-epoch / 2)}
    return head.assign(epoch=epoch, **losses, val_accuracy=accuracy).reset_index(drop=True)


def arm_summary(trials: pd.DataFrame, arm: str) -> dict[str, Any]:
    """The summary's entry of one arm, at its lowest sparsity and patch drop."""
    values = {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}
    setting = {a: values[a] if a in USES.get(arm, ALL) else None for a in ALL}
    rows = trials[trials["arm"] == arm]
    for axis, value in setting.items():
        rows = rows if value is None else rows[np.isclose(rows[axis], value)]
    mean = float(rows["final/test_accuracy"].mean())
    gap = mean - (DENSE - 0.003)
    return {
        "arm": arm,
        "n": len(rows),
        "val_accuracy_mean": np.float64(rows["final/val_accuracy"].mean()),
        "test_accuracy_mean": mean,
        "ci_low": mean - 0.004,
        "ci_high": mean + 0.004,
        "difference_to_dense": gap,
        "difference_ci_low": gap - 0.005,
        "difference_ci_high": gap + 0.005,
        "sparsity_mean": float(np.nan_to_num(rows["final/sparsity"].mean())),
        "macs_ratio": 0.9 if setting["patch_drop"] else 1.0,
        "setting": setting,
    }


def make_summary(trials: pd.DataFrame) -> dict[str, Any]:
    """The whole summary, numpy scalars and a NaN included."""
    curve = []
    for s in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5):
        drop = 0.002 + 0.3 * s**3.4
        row = {"sparsity": s, "val_accuracy": DENSE - drop, "n": 3, "drop": drop}
        row |= {"ci_low": DENSE - drop - 0.006, "ci_high": DENSE - drop + 0.005}
        curve.append(row | {"drop_low": drop - 0.003, "drop_high": drop + 0.003})
    chosen = trials[trials["name"] == "lotus-s0.30-d0.10-f0.10-seed0"].iloc[0]
    return {
        "sweep": "cifar10-vit-small",
        "confidence": 0.95,
        "trials": {"planned": len(trials) + 2, "finished": len(trials) - 1, "failed": 1},
        "dense": {"val_accuracy": DENSE, "test_accuracy": DENSE - 0.003, "n": 3},
        "essential_sparsity": {
            "value": 0.3,
            "low": 0.2,
            "high": 0.4,
            "bracket": [0.3, 0.4],
            "detector": "first_violation",
            "tolerance": 0.01,
            "curve": curve,
        },
        "arms": [arm_summary(trials, arm) for arm in PENALTY],
        "recommended": {
            "trial_key": chosen["key"],
            "name": chosen["name"],
            "arm": "lotus",
            "sparsity": 0.3,
            "patch_drop": 0.1,
            "mask_data_fraction": 0.1,
            "seed": np.int64(0),
            "final_sparsity": 0.3,
            "val_accuracy": float(chosen["final/val_accuracy"]),
            "test_accuracy": float(chosen["final/test_accuracy"]),
            "macs_ratio": 0.9,
            "within_tolerance": np.bool_(True),
            "reason": "Sparsest setting whose validation accuracy is within 1 point of dense.",
        },
        "cost": {
            "device": "cpu",
            "device_hours": 14.2,
            "device_hours_saved": 22.6,
            "wall_s": float("nan"),
        },
        "comparisons": make_comparisons(),
        "overlap": make_overlap(),
        "not_measured": ["Accuracy on a shifted test set.", "Speed of 2:4 sparse kernels."],
        "warnings": ["1 of the trials failed: out of memory."],
    }


def make_comparisons() -> list[dict[str, Any]]:
    """Three families of comparisons."""
    setting = {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}
    found = []
    for family, a, b, mean in (
        ("against_dense", "lotus", "dense", -0.011),
        ("against_controls", "lotus", "random_patches", 0.002),
        ("against_controls", "lotus", "random_mask", 0.26),
        ("after_pruning", "lotus", "magnitude", 0.031),
    ):
        half = 0.006
        low, high = mean - 1.3 * half, mean + 1.3 * half
        said = "better" if low > 0 else "worse" if high < 0 else "not told apart"
        split = "validation" if family == "after_pruning" else "test"
        row = {"a": a, "b": b, "setting_a": setting, "setting_b": setting, "split": split}
        row |= {"n": 3, "n_images": 10_000, "mean": mean, "verdict": said, "family": family}
        row |= {"ci_low": mean - half, "ci_high": mean + half}
        found.append(row | {"corrected_low": low, "corrected_high": high})
    return found


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


@pytest.fixture(scope="session")
def full() -> ReportData:
    """A sweep with every arm, made up."""
    trials = make_trials()
    return ReportData(
        summary=make_summary(trials),
        trials=trials,
        curves=make_curves(trials),
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
        curves=pd.DataFrame(),
        pictures=(),
        sweep_yaml="name: new\n",
        facts={},
    )
