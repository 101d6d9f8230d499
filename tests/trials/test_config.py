from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from trials.config import IsspSection, TrialConfig


@pytest.mark.parametrize(
    "changes",
    [
        {"sparsity": 1.0},
        {"sparsity": 30},
        {"sparsity": "Auto"},
        {"patch_drop": -0.1},
        {"mask_data_fraction": 0.05},
        {"seed": -1},
        {"arm": "everything"},
        {"essential": {"levels": []}},
        {"essential": {"levels": [0.1, 1.0]}},
        {"issp": {"target_sparsity": 1.0}},
        {"issp": {"round": 2}},
        {"finetune": {"epochs": 0}},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(
    tiny_trial: Callable[..., TrialConfig], changes: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        tiny_trial(**changes)


def test_levels_are_put_in_order(tiny_trial: Callable[..., TrialConfig]) -> None:
    trial = tiny_trial(essential={"levels": [0.5, 0.1, 0.3, 0.1]})
    assert trial.essential.levels == (0.1, 0.3, 0.5)


def test_a_trial_survives_a_round_trip_through_json(
    tiny_trial: Callable[..., TrialConfig],
) -> None:
    trial = tiny_trial(sparsity="auto")
    assert TrialConfig.model_validate_json(trial.model_dump_json()) == trial


def test_the_round_is_no_setting_of_a_sweep_file() -> None:
    assert "round" not in IsspSection().model_dump()
