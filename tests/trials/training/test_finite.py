"""A result that is not finite never leaves its stage."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from trials import run_trial
from trials.config import TrialConfig
from trials.context import Epoch, Outcomes
from trials.errors import StageInputError
from trials.model.vit import Arch, Checkpoint
from trials.stage import STAGES
from trials.stages.soup_train import SoupTrained
from trials.training.finite import REMEDIES, check_finite

TRIALS: dict[str, dict[str, Any]] = {
    "online": {"tickets": {"selection": "online"}},
    "snip": {"arm": "essential", "essential": {"criterion": "snip"}},
    "auto": {"arm": "essential", "sparsity": "auto", "essential": {"refine": 0.2}},
    "progressive": {
        "issp": {"rounds": 2, "round_training": "progressive", "steps": 1, "ingredients": 2},
        "mask_data_fraction": 0.5,
    },
    "rung": {"rungs": (1,)},
}


def poisoned(value: Any, bad: float, path: str = "") -> Iterator[tuple[str, Any]]:
    """The value with one of its numbers replaced, for each of them, and where that is."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
        wrong = value.clone()
        wrong.view(-1)[-1] = bad
        yield path, wrong
    elif isinstance(value, float):
        yield path, bad
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            for where, part in poisoned(getattr(value, field.name), bad, f"{path}.{field.name}"):
                yield where, dataclasses.replace(value, **{field.name: part})
    elif isinstance(value, dict):
        for name, own in value.items():
            for where, part in poisoned(own, bad, f"{path}.{name}"):
                yield where, value | {name: part}
    elif isinstance(value, tuple):
        for i, own in enumerate(value):
            for where, part in poisoned(own, bad, f"{path}.{i}"):
                yield where, (*value[:i], part, *value[i + 1 :])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_every_number_is_looked_at_and_named_by_its_place(bad: float) -> None:
    arch = Arch("vit", {"depth": 2, "drop_rate": 0.1}, (0.5,), (0.5,))
    state = {"a.weight": torch.zeros(2, 3), "b": torch.zeros(()), "mask": torch.ones(2).bool()}
    outcomes = Outcomes(torch.ones(3).bool(), 0.5)
    result = SoupTrained(Checkpoint(arch, state), outcomes, 3, 0.25)
    history = {"history": (Epoch(0.1, 0.2, 0.3, 4.0), Epoch(0.1, 0.2, 0.3, 4.0))}
    for good, count in ((result, 7), (history, 8)):
        check_finite(good, "dense")
        wrong = list(poisoned(good, bad))
        assert len(wrong) == count
        for where, broken in wrong:
            with pytest.raises(StageInputError) as error:
                check_finite(broken, "dense")
            expected = f"dense: {where.removeprefix('.')} not finite; the training has diverged"
            assert str(error.value).startswith(expected)


@pytest.mark.parametrize("name", TRIALS)
def test_no_result_of_any_stage_holds_such_a_number(
    tiny_trial: Callable[..., TrialConfig], name: str
) -> None:
    sizes = {"name": "digits", "validation": 40, "train_images": 60, "test_images": 40}
    base: dict[str, Any] = {"data": sizes, "finetune": {"epochs": 1}}
    for stage, result in run_trial(tiny_trial(**base | TRIALS[name])).results.items():
        check_finite(result, stage)
        for where, broken in itertools.islice(poisoned(result, math.nan), 2):
            with pytest.raises(StageInputError, match=f"{stage}: {where[1:]} not finite"):
                check_finite(broken, stage)


def test_every_stage_says_what_to_change() -> None:
    assert REMEDIES.keys() == STAGES.keys()


def test_many_places_are_counted_not_listed() -> None:
    with pytest.raises(
        StageInputError, match=r"rung: a, b, c and 2 more not finite; .*`finetune\.lr`"
    ):
        check_finite(dict.fromkeys("abcde", math.nan), "rung")


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("dense", {"epochs": 1}),
        ("finetune", {"epochs": 1, "weights": "current"}),
        ("issp", {"ingredients": 2, "steps": 1, "spread": (1.0, 1.0)}),
    ],
)
def test_a_training_whose_last_step_diverges_ends_with_the_setting_to_lower(
    tiny_trial: Callable[..., TrialConfig], section: str, changes: dict[str, Any]
) -> None:
    """Its loss, which is that before the step, is finite."""
    diverging = {section: {"lr": 1e39, "batch_size": 10_000} | changes}
    trial = tiny_trial(**{"finetune": {"epochs": 1}} | diverging)
    with pytest.raises(StageInputError, match=r"not finite|diverged") as error:
        run_trial(trial)
    assert "`lr`" in str(error.value) or f"`{section}.lr`" in str(error.value)
