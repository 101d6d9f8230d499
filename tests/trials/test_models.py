"""Every kind of model runs every stage."""

from typing import Any

import pytest
import torch

from tests.trials.models import MODELS, config
from trials.arms import CONTROLS
from trials.config import TrialConfig
from trials.graph.execute import TrialResult, run_trial
from trials.sparsity import masks
from trials.stage import STAGES, closure

BRIEF = {"epochs": 1, "lr": 1e-3, "batch_size": 32}
DATA = {"name": "digits", "validation": 60, "train_images": 60}

TRIALS: dict[str, dict[str, Any]] = {
    "all of LOTUS": {
        "arm": "lotus",
        "sparsity": "auto",
        "essential": {"criterion": "wanda", "levels": [0.1, 0.3], "refine": 0.1},
        "tickets": {"scope": "global"},
        "issp": {
            "ingredients": 2,
            "steps": 1,
            "batch_size": 8,
            "rounds": 2,
            "round_training": "progressive",
        },
        "finetune": BRIEF | {"weights": "current", "distill": 0.5},
    },
    "online, painted": {
        "arm": "lotus",
        "essential": {"criterion": "sparsegpt"},
        "tickets": {"selection": "online", "removal": "mean", "weights": "adapted"},
        "finetune": BRIEF | {"weights": "current", "crop": 1, "flip": True},
    },
    "hidden, stopped early": {
        "arm": "random_mask",
        "essential": {"criterion": "snip"},
        "tickets": {"removal": "attention_mask", "scope": "global", "weights": "adapted"},
        "finetune": BRIEF | {"epochs": 2, "weights": "current"},
        "rungs": [1],
    },
}

ELSEWHERE = {"round_train", "recovered", "reduced"}
"""They train and evaluate as the others do. What `reduced` does to a kind of model is tested in
tests/trials/reduction."""


def run(kind: str, name: str) -> TrialResult:
    settings: dict[str, Any] = {
        "data": DATA,
        "model": config(kind),
        "dense": BRIEF,
        "issp": {"ingredients": 2, "steps": 2, "batch_size": 32},
        "patch_drop": 0.25,
        "mask_data_fraction": 0.5,
    }
    own = dict(TRIALS[name])
    for section in ("tickets", "essential"):  # the weights are random
        own[section] = {"weights": "adapted"} | own[section]
    return run_trial(TrialConfig.model_validate(settings | own))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_model_runs_every_stage(kind: str, name: str) -> None:
    result = run(kind, name)
    keep = result.results["control" if "control" in result.results else "issp"].keep
    state = result.results["dense"].checkpoint.state
    assert masks.size(keep) == sum(state[n].numel() for n in keep)
    assert masks.sparsity(keep) == pytest.approx(0.5, abs=0.01)
    tickets = result.results["tickets"]
    assert float(tickets.train.float().mean()) == pytest.approx(0.75, abs=0.01)
    if "rung" in result.results:
        return
    final = result.results["finetune"].checkpoint.state
    assert not any(bool(final[n][~mask].any()) for n, mask in keep.items())
    moved = [n for n in final if not torch.equal(final[n], state[n])]
    assert moved
    profile = result.results["profile"]
    gathered = TRIALS[name]["tickets"].get("removal", "gather") == "gather"
    assert (profile.macs < profile.macs_dense) == gathered


def test_these_trials_have_every_stage() -> None:
    ran: set[str] = set()
    for name in TRIALS:
        graph = run("vit", name).graph
        ran |= {node.stage.name for node in closure(graph.final)}
    assert ran == set(STAGES) - ELSEWHERE
    assert {TRIALS[name]["arm"] for name in TRIALS} & set(CONTROLS)
