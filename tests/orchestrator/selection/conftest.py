"""Made-up sweeps of which the cause of the collapse is known. No number here was measured."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pytest

from trials.arms import CURVE_ARMS

N = 5_000
DENSE = 0.9
DEFAULT: dict[str, Any] = {
    "issp.preset": "default",
    "issp.merge": "vote_topk",
    "issp.sparsity_reference": "absolute",
    "issp.levels": "[]",
    "issp.ingredients": "5",
    "issp.steps": "50",
    "issp.rounds": "1",
    "issp.target_sparsity": "0.5",
    "issp.schedule": "geometric",
    "issp.weights": "current",
    "finetune.epochs": "5",
    "data.name": "cifar10",
    "mask_data_fraction": 0.1,
    "sparsity": 0.3,
    "patch_drop": 0.1,
}
LITERAL = DEFAULT | {
    "issp.preset": "lotus_literal",
    "issp.merge": "union_pruned",
    "issp.sparsity_reference": "relative",
    "issp.levels": "[0.4, 0.5, 0.6, 0.7]",
    "issp.ingredients": "4",
}
CHANGES: tuple[dict[str, Any], ...] = (
    {"issp.merge": "union_kept"},
    {"issp.sparsity_reference": "absolute"},
    {"issp.levels": "[]"},
    {"issp.steps": "10"},
    {"issp.ingredients": "8"},
    {"issp.rounds": "5", "issp.schedule": "cubic"},
    {"issp.weights": "rewind"},
    {"finetune.epochs": "1"},
    {"mask_data_fraction": 0.3},
    {"mask_data_fraction": 1.0},
)

Law = Callable[[dict[str, Any]], tuple[float, float]]
"""Settings -> (sparsity reached, loss right after pruning)."""


def one_shot_loss(sparsity: float) -> float:
    """What plain one-shot magnitude loses in this made-up world: a cliff beyond 60 %."""
    return 0.02 if sparsity <= 0.6 else 0.5


def reached(config: dict[str, Any]) -> float:
    """Sparsity: the literal reading prunes 79 %, its cures less."""
    if config["issp.preset"] == "default":
        return 0.5
    literal = config["issp.sparsity_reference"] == "relative" and config["issp.levels"] != "[]"
    return 0.79 if literal and config["issp.merge"] == "union_pruned" else 0.55


def trial(arm: str, config: dict[str, Any], seed: int, **metrics: Any) -> dict[str, Any]:
    """A finished trial with the counts that its losses mean."""
    name = "-".join([arm, *map(str, config.values()), str(seed)])
    row = {"key": name, "name": name, "arm": arm, "seed": seed, "status": "FINISHED", "error": None}
    row |= {"dense/val_accuracy": DENSE, "dense/test_accuracy": DENSE, "dense/val_n": N}
    row |= {"dense/test_n": N, "stage.dense": f"dense-{seed}", "denoise/jaccard_mean": 0.95}
    if arm in CURVE_ARMS:
        row |= lossy("essential", "val", 0.01) | {"stage.essential": f"essential-{seed}"}
    return row | config | metrics


def lossy(prefix: str, split: str, loss: float) -> dict[str, Any]:
    """Metrics of one evaluation that loses so much, and gains nothing."""
    lost = round(max(loss, 0.0) * N)
    gained = round(max(-loss, 0.0) * N)
    return {
        f"{prefix}/{split}_accuracy": DENSE - (lost - gained) / N,
        f"{prefix}/{split}_lost": lost,
        f"{prefix}/{split}_gained": gained,
    }


def ended(loss: float) -> dict[str, Any]:
    """Metrics of the model at the end, on whole images and as much on the patches that it keeps."""
    whole = lossy("final", "val", loss) | lossy("final", "test", loss)
    return whole | {name.replace("final/", "final/deployed_"): v for name, v in whole.items()}


def masked(
    config: dict[str, Any], seed: int, law: Law, noise: float, arm: str = "lotus"
) -> dict[str, Any]:
    """A trial of ISSP whose loss follows the law; fine-tuning halves it four times."""
    sparsity, loss = law(config)
    loss += noise * (seed - 1)
    metrics = {"issp/sparsity": sparsity, "final/sparsity": sparsity}
    metrics |= lossy("issp", "val", loss) | ended(loss / 16)
    metrics |= {"final/epochs_to_near_dense": 3.0}
    return trial(arm, config, seed, **metrics)


def control(arm: str, sparsity: float, loss: float, seed: int) -> dict[str, Any]:
    """A control at one sparsity; its `issp.*` settings mean nothing."""
    metrics = {"control/sparsity": sparsity, "final/sparsity": sparsity}
    metrics |= lossy("control", "val", loss) | ended(loss / 16)
    metrics |= {"stage.control": f"{arm}-{sparsity}"}
    return trial(arm, DEFAULT | {"issp.target_sparsity": str(sparsity)}, seed, **metrics)


def star(law: Law, seeds: Iterable[int] = (0, 1, 2), noise: float = 0.0) -> pd.DataFrame:
    """Both readings with one thing changed at a time, and controls at every sparsity."""
    found = []
    for seed in seeds:
        for anchor in (DEFAULT, LITERAL):
            configs = [anchor, *(anchor | change for change in CHANGES)]
            unique = {str(c): c for c in configs}.values()
            found += [masked(c, seed, law, noise) for c in unique]
        for sparsity in (0.5, 0.55, 0.79):
            found.append(control("magnitude", sparsity, one_shot_loss(sparsity), seed))
            found.append(control("random_mask", sparsity, 0.7, seed))
    return pd.DataFrame(found)


@pytest.fixture(scope="session")
def by_sparsity() -> pd.DataFrame:
    """The literal reading collapses because it prunes 79 %; nothing else matters."""
    return star(lambda c: (reached(c), one_shot_loss(reached(c)) + 0.01), noise=0.001)
