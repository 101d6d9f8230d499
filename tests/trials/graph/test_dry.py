"""The dry step holds what a trial holds at most."""

from collections.abc import Callable
from typing import Any

import pytest
import timm.layers
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from trials.config import TrialConfig
from trials.context import Context
from trials.data.datasets import Dataset
from trials.graph.dry import dry_run, largest_batch


@pytest.mark.parametrize(
    ("changes", "models"),
    [
        ({}, 1),
        ({"finetune": {"batch_size": 24, "distill": 0.5, "epochs": 1}}, 2),
        ({"tickets": {"selection": "online"}, "finetune": {"crop": 1, "flip": True}}, 2),
    ],
    ids=["plain", "teacher", "online"],
)
def test_the_largest_batch_meets_all_models_and_nothing_is_left_out(
    tiny_trial: Callable[..., TrialConfig], small: Dataset, changes: dict[str, Any], models: int
) -> None:
    seen: dict[torch.nn.Module, set[int]] = {}

    def look(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, timm.layers.PatchEmbed) and not args[0].is_meta:
            seen.setdefault(module, set()).add(len(args[0]))

    trial = tiny_trial(**{"dense": {"batch_size": 48}} | changes)
    assert largest_batch(trial) == max(48, trial.finetune.batch_size)
    handle = register_module_forward_pre_hook(look)
    try:
        dry_run(trial, small, Context())
    finally:
        handle.remove()
    assert len(seen) == models
    assert max(map(max, seen.values())) == max(48, trial.finetune.batch_size)
