"""DynamicViT's predictors against the share of the patches that they train for."""

from typing import Any

import pandas as pd
import pytest

from orchestrator.selection.predictors import predictor_warnings


def said(*trials: dict[str, Any]) -> list[str]:
    return list(predictor_warnings(pd.DataFrame([{"name": "t"} | one for one in trials])))


def kept(*shares: float, **more: Any) -> dict[str, Any]:
    named = {f"reduced/kept_{stage + 1}": share for stage, share in enumerate(shares)}
    return {"reduction.keep": "0.7", "reduction.count": "published"} | named | more


def test_it_is_said_how_far_the_farthest_stage_of_the_farthest_trial_is_off() -> None:
    (text,) = said(kept(0.71, 0.49, 0.35), kept(0.77, 0.61, 0.44, name="far"), kept(0.76, 0.5, 0.4))
    assert text.startswith("In 2 of 3 trainings")
    assert "(12.0 in far)" in text


@pytest.mark.parametrize(
    "trial",
    [
        {},
        kept(0.7, 0.49, 0.343),
        kept(0.749, 0.5, 0.3),
        kept(0.9, 0.9, 0.9, **{"tickets/kept_patches": 50.0}),
        {"reduction.keep": 0.7, "reduced/kept_1": None},
    ],
)
def test_nothing_is_said_near_the_goal_or_where_there_is_none(trial: dict[str, Any]) -> None:
    assert said(trial) == []


def test_with_tickets_the_goal_is_a_share_of_what_they_leave() -> None:
    more = {"tickets/kept_patches": 50.0, "reduction.count": "entering"}
    assert said(kept(0.9, 0.9, 0.9, **more))
