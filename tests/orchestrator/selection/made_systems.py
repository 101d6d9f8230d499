"""Made-up trials of every family of systems. No number here was measured."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tests.orchestrator.selection.conftest import ended, trial

AXES = [
    "reduction.method", "reduction.keep", "reduction.r", "reduction.metric", "reduction.train",
    "issp.preset", "issp.target_sparsity",
]  # fmt: skip
NONE: dict[str, Any] = {"patch_drop": None, "sparsity": None, "mask_data_fraction": None}
NONE |= dict.fromkeys(AXES)
SEEDS = (0, 1, 2)


def system(
    arm: str,
    loss: float,
    *,
    macs: float = 100.0,
    zeros: float = 0.0,
    training: float = 1_000.0,
    tokens: str | None = None,
    seeds: Sequence[int] = SEEDS,
    **settings: Any,
) -> list[dict[str, Any]]:
    """The trials of one setting; `reduction_keep=0.7` is the setting `reduction.keep`."""
    named = {name.replace("reduction_", "reduction.").replace("issp_", "issp."): value
             for name, value in settings.items()}  # fmt: skip
    config = NONE | named
    sizes = {
        "final/sparsity": zeros, "final/macs_deployed": macs, "final/macs": macs,
        "final/macs_dense": 100.0, "final/macs_training": training, "tokens": tokens,
        "finetune.epochs": 3.0, "stage.finetune": None,
    }  # fmt: skip
    return [trial(arm, config, seed, **ended(loss), **sizes) for seed in seeds]


def reduced(method: str, loss: float, tokens: str, **settings: Any) -> list[dict[str, Any]]:
    """The trials of one setting of token reduction."""
    return system("reduced", loss, tokens=tokens, macs=75.0, reduction_method=method, **settings)


def masked(arm: str, loss: float, target: float, **settings: Any) -> list[dict[str, Any]]:
    """The trials of one setting with pruned weights, on whole images."""
    named = {"patch_drop": None, "sparsity": 0.0, "issp_target_sparsity": target} | settings
    return system(arm, loss, zeros=target, **named)


def every_family() -> list[dict[str, Any]]:
    """A sweep with all of them: dense, tickets, four reducers, five prunings, LOTUS."""
    return [
        *system("dense", 0.0),
        *system("tickets", 0.004, macs=80.0, patch_drop=0.2),
        *system("random_tickets", 0.05, macs=80.0, patch_drop=0.2),
        *reduced("evit", 0.01, "17/17/14/12 → 10", reduction_keep=0.7, reduction_train="True"),
        *reduced("random", 0.06, "17/17/14/12 → 10", reduction_keep=0.7, reduction_train="True"),
        *reduced("tome", 0.02, "17/15/13/11 → 9", reduction_r=2, reduction_train="False"),
        *reduced("tome", 0.005, "17/15/13/11 → 9", reduction_r=2, reduction_train="True"),
        *reduced("tome", 0.03, "17/15/13/11 → 9", reduction_r=2, reduction_train="True",
                 reduction_metric="random"),
        *reduced("dynamicvit", 0.01, "17/13/11/9 → 9", reduction_keep=0.8, reduction_train="True"),
        *system("essential", 0.012, zeros=0.5, sparsity=0.5),
        *masked("magnitude", 0.012, 0.5),
        *masked("random_mask", 0.2, 0.5),
        *masked("issp", 0.01, 0.5, issp_preset="isp_published_votes"),
        *masked("issp", 0.011, 0.5, issp_preset="progressive"),
        *masked("issp", 0.05, 0.5, issp_preset="progressive_published"),
        *masked("issp", 0.012, 0.5, issp_preset="lth", training=4_000.0),
        *masked("lotus", 0.015, 0.5, patch_drop=0.2, macs=80.0),
        *masked("magnitude", 0.05, 0.5, patch_drop=0.2, macs=80.0),
        *system("lotus", 0.02, zeros=0.5, macs=60.0, tokens="13/11/9/7 → 5", patch_drop=0.2,
                reduction_method="tome", reduction_r=2),
    ]  # fmt: skip


def table(rows: list[dict[str, Any]] | None = None) -> pd.DataFrame:
    """The trials as a table."""
    return pd.DataFrame(every_family() if rows is None else rows)
