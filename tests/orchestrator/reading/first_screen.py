"""A made-up sweep in a real MLflow store, and its first screen recomputed from what lies there.

No function of `orchestrator.selection` is used here: runs are read with MLflow's client, outcomes
with safetensors and NumPy, and every formula is written out once more.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from numpy.typing import NDArray
from safetensors import safe_open
from scipy import optimize, special, stats

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import Tracker, open_sweep
from trials import formats

N = 8_000
Bits = NDArray[np.bool_]
LEVELS = (0.2, 0.4, 0.6)
ONE_SHOT_LOST = {0.2: 10, 0.4: 40, 0.6: 200}  # images of N: 0.1, 0.5 and 2.5 points
LOST_AND_GAINED = {
    ("dense", None): (12, 24),
    ("lotus", 0.2): (14, 26),  # the best on validation
    ("lotus", 0.4): (20, 22),
    ("lotus", 0.6): (26, 20),  # as cheap, within a point of dense, and the sparsest
    ("random_mask", 0.4): (700, 10),
}
DENSE_MACS, KEPT, CHOOSING = 100e6, 0.75, 0.1


# --- writing it -----------------------------------------------------------------------


def turned(right: Bits, lost: int, gained: int, rng: np.random.Generator) -> Bits:
    """Another model: wrong on so many that were right, right on so many that were wrong."""
    out = right.copy()
    out[rng.choice(np.flatnonzero(right), lost, replace=False)] = False
    out[rng.choice(np.flatnonzero(~right), gained, replace=False)] = True
    return out


def counts(prefix: str, own: Bits, dense: Bits) -> dict[str, float]:
    return {
        f"{prefix}_accuracy": float(own.mean()),
        f"{prefix}_lost": float((dense & ~own).sum()),
        f"{prefix}_gained": float((~dense & own).sum()),
    }


def outcomes(
    arm: str, level: float | None, dense: dict[str, Bits], rng: np.random.Generator
) -> tuple[dict[str, Bits], dict[str, float]]:
    """Which images a made-up trial gets right, and the metrics that say so."""
    lost, gained = LOST_AND_GAINED[arm, level]
    lost += int(rng.integers(0, 6))  # seeds differ
    bits = {f"dense.{split}": dense[split] for split in ("validation", "test")}
    metrics = {"dense/val_n": N, "dense/test_n": N}
    for split, short in (("validation", "val"), ("test", "test")):
        metrics[f"dense/{short}_accuracy"] = float(dense[split].mean())
        whole = turned(dense[split], lost, gained, rng)
        deployed = turned(whole, 3, 2, rng) if level else whole
        bits |= {f"final.{split}": whole, f"deployed.{split}": deployed}
        metrics |= counts(f"final/{short}", whole, dense[split])
        metrics |= counts(f"final/deployed_{short}", deployed, dense[split])
    if arm == "lotus" and level:
        lost_at_once = ONE_SHOT_LOST[level] + int(rng.integers(0, 4))
        one_shot = turned(dense["validation"], lost_at_once, 0, rng)
        bits |= {"essential.validation": one_shot, "issp.validation": one_shot}
        metrics |= counts("essential/val", one_shot, dense["validation"])
        metrics |= counts("issp/val", one_shot, dense["validation"])
    return bits, metrics


def costs(arm: str, level: float | None, seed: int) -> dict[str, float]:
    kept, choosing = (KEPT, CHOOSING) if level else (1.0, 0.0)
    macs = {"": kept, "_dense": 1.0, "_selector": choosing, "_deployed": kept + choosing}
    sparsity = 0.0 if level is None else level + 0.1
    return {f"final/macs{name}": share * DENSE_MACS for name, share in macs.items()} | {
        "final/sparsity": sparsity,
        "final/sparsity_model": 0.9 * sparsity,
        "profile/images_per_s": 120.0 + seed,
        "profile/images_per_s_dense": 100.0,
        "time/finetune_s": 30.0 + seed,
        "time/total_s": 90.0 + seed,
        "cache/saved_s": 60.0,
    }


def write_sweep(sweep: SweepConfig, seeds: Iterable[int], arms: set[str], folder: Path) -> None:
    """Every trial as a worker leaves it, one shared stage, and what a driver notes."""
    address = open_sweep(sweep)
    tracker, rng = Tracker(address), np.random.default_rng(len(arms))
    common = {split: rng.random(N) < 0.9 for split in ("validation", "test")}
    number = 0
    for seed in seeds:
        dense = {split: turned(right, 150, 150, rng) for split, right in common.items()}
        stage = tracker.start(Identity(f"{seed:064x}", "stage", f"dense-seed{seed}"))
        stage.metrics({"time/dense_s": 600.0})
        stage.flush()
        stage.finish()
        for arm, level in LOST_AND_GAINED:
            if arm not in arms:
                continue
            number += 1
            name = f"{arm}{'' if level is None else f'-s{level:.2f}'}-seed{seed}"
            key = hashlib.sha256(name.encode()).hexdigest()
            stages = {"dense": f"dense-{seed}", "finetune": f"tuned-{name}"}
            stages |= {"essential": f"essential-{level}-{seed}"} if arm == "lotus" else {}
            tags = {"lotus.arm": arm} | {f"lotus.stage.{k}": v for k, v in stages.items()}
            log = tracker.start(Identity(key, "trial", name, tags))
            bits, metrics = outcomes(arm, level, dense, rng)
            log.metrics(metrics | costs(arm, level, seed))
            axes = {"sparsity": level, "patch_drop": 0.25, "mask_data_fraction": 0.5}
            params: dict[str, Any] = {"arm": arm, "seed": seed} | (axes if level else {})
            log.flush(params)
            place = folder / str(number)
            write_artifacts(bits, place, sweep)
            log.artifacts(place)
            log.finish()
    tags = {"lotus.trials_planned": str(number + 1), "lotus.wall_s": "600.0"}
    tracker.sweep_log().flush(tags=tags)


def write_artifacts(bits: dict[str, Bits], place: Path, sweep: SweepConfig) -> None:
    (place / "outcomes").mkdir(parents=True)
    as_tensors = {name: torch.from_numpy(right) for name, right in bits.items()}
    formats.save_mask(as_tensors, place / "outcomes/correct.safetensors")
    model = sweep.model
    import timm

    made = timm.create_model(model.name, pretrained=False, num_classes=10, **model.kwargs)
    header = {
        "lotus_key": "made up", "timm_model": model.name, "mean": "[0.3]", "std": "[0.38]",
        "timm_kwargs": json.dumps(model.kwargs | {"num_classes": 10}),
    }  # fmt: skip
    (place / "checkpoints").mkdir()
    formats.save_checkpoint(made.state_dict(), place / "checkpoints/final.safetensors", header)


# --- reading it again -----------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """What MLflow has of a sweep: its trials and shared stages, and its own run."""

    client: MlflowClient
    trials: list[Any]
    stages: list[Any]
    parent: Any

    @classmethod
    def of(cls, uri: str, experiment: str, name: str) -> "Raw":
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        runs = list(client.search_runs([found.experiment_id], max_results=1000))
        kinds: dict[str, list[Any]] = {"trial": [], "stage": [], "sweep": []}
        for run in runs:
            kinds[run.data.tags["lotus.kind"]].append(run)
        (parent,) = (run for run in kinds["sweep"] if run.data.tags["lotus.name"] == name)
        return cls(client, kinds["trial"], kinds["stage"], parent)

    def setting(self, arm: str, level: float | None) -> dict[int, Any]:
        """Seed -> run."""
        wanted = None if level is None else str(level)
        return {
            int(run.data.params["seed"]): run
            for run in self.trials
            if run.data.params["arm"] == arm and run.data.params.get("sparsity") == wanted
        }

    def mean(self, runs: dict[int, Any], metric: str) -> float:
        return float(np.mean([run.data.metrics[metric] for run in runs.values()]))

    def right(self, run: Any, name: str, folder: Path) -> NDArray[np.float64]:
        """The bits of one outcome, image by image."""
        path = self.client.download_artifacts(
            run.info.run_id, "outcomes/correct.safetensors", str(folder)
        )
        with safe_open(path, "np") as file:
            (count,) = json.loads(file.metadata()["shapes"])[name]
            bits = np.unpackbits(file.get_tensor(name), count=count, bitorder="little")
        return bits.astype(np.float64)


@dataclass(frozen=True)
class Gap:
    """A mean difference by hand, with both its 95 % intervals; `seeds` None below three."""

    mean: float
    models: tuple[float, float]
    seeds: tuple[float, float] | None


def gap(
    a: list[NDArray[np.float64]],
    b: list[NDArray[np.float64]],
    others: dict[Any, list[float]],
    of: tuple[Any, Any] | None,
) -> Gap:
    """a minus b, one pair of outcomes for each seed.

    Args:
        others: every setting's accuracies, seed by seed, which the spread is borrowed from.
        of: the two that are compared; None = nothing is borrowed.
    """
    n, differences = len(a), [x - y for x, y in zip(a, b, strict=True)]
    mean = float(np.mean([d.mean() for d in differences]))
    images = variance_of_mean(np.mean(differences, axis=0))
    half = stats.norm.ppf(0.975) * np.sqrt(images)
    models = (mean - half, mean + half)
    if n < 3:
        return Gap(mean, models, None)
    alone = float(np.mean([variance_of_mean(d) for d in differences]))
    shared = min(images, max(0.0, images - (alone - images) / (n - 1)))
    if of is None:
        spread, df = float(np.var([d.mean() for d in differences], ddof=1)), n - 1.0
    else:
        moderated = moderated_variances(others)
        (va, da), (vb, db) = (moderated[one] for one in of)
        spread, df = va + vb, (va + vb) ** 2 / (va**2 / da + vb**2 / db)
        df = min(df, (len(others) - 1) * (n - 1))  # all residuals have no more
    between = max(spread, n * (images - shared))
    total = between / n + shared
    df *= (total / (between / n)) ** 2
    half = stats.t.ppf(0.975, df) * np.sqrt(max(total, images))
    return Gap(mean, models, (mean - half, mean + half))


def variance_of_mean(difference: NDArray[np.float64]) -> float:
    """Of a mean over images, with half an image more on either side (Agresti and Min)."""
    seen = np.append(difference, [np.sqrt(0.5), -np.sqrt(0.5)])
    return float(seen.var() / len(seen))


def moderated_variances(accuracies: dict[Any, list[float]]) -> dict[Any, tuple[float, float]]:
    """Setting -> variance between seeds and degrees of freedom, shrunk as in limma (Smyth 2004)."""
    table = np.array(list(accuracies.values()))
    k, n = table.shape
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    own, d = (left**2).sum(1) / ((n - 1) * (k - 1) / k), n - 1.0
    logs = np.log(np.maximum(own, 1e-5 * np.median(own)))
    logs += np.log(d / 2) - special.digamma(d / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, d / 2)
    d0, v0 = np.inf, np.exp(logs.mean())
    if excess > 1e-6:
        half = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e7)
        d0, v0 = 2 * half, np.exp(logs.mean() + special.digamma(half) - np.log(half))
    borrowed = min(d0, 3 * d)
    shrunk = np.maximum(own, (borrowed * v0 + d * own) / (borrowed + d))
    return {key: (v, borrowed + d) for key, v in zip(accuracies, shrunk, strict=True)}
