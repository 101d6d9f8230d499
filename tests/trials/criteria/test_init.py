from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from trials import masks
from trials.criteria import CRITERIA
from trials.stages.essential import OneShotConfig

WEIGHTS = {
    "normal": torch.randn(10, 10, generator=torch.Generator().manual_seed(0)),
    "ties": torch.ones(10, 10),
    "zeros": torch.zeros(10, 10),
}


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2, 0.8])
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
def test_every_criterion_removes_exactly_the_asked_count(
    criterion: Callable[..., dict[str, Tensor]], weights: Tensor, fraction: float
) -> None:
    scores = criterion({"w": weights[:4], "v": weights[4:]}, 0)
    keep = masks.top_k(scores, masks.keep_count(100, fraction))
    assert 100 - masks.kept(keep) == round(fraction * 100)


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
def test_every_criterion_scores_each_weight_and_leaves_it_alone(
    criterion: Callable[..., dict[str, Tensor]],
) -> None:
    weights = {"w": torch.randn(3, 4, requires_grad=True)}
    before = weights["w"].detach().clone()
    scores = criterion(weights, 0)
    assert scores.keys() == weights.keys()
    assert scores["w"].shape == (3, 4)
    assert not scores["w"].requires_grad
    assert torch.equal(weights["w"].detach(), before)


def test_every_criterion_that_a_stage_may_name_is_there() -> None:
    named = get_args(OneShotConfig.model_fields["criterion"].annotation)
    assert CRITERIA.keys() == set(named)
