"""What each arm reached, and the one dense model beside it."""

from typing import Any

import pandas as pd
import pytest

from orchestrator.selection.arms import ArmRow, arms_table, dense_summary
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import dense_for
from orchestrator.selection.settings import group_settings
from tests.orchestrator.selection.test_recommendation import DENSE, dense, three, trial


def table(*rows: dict[str, Any]) -> dict[str, ArmRow]:
    points = group_settings(pd.DataFrame(rows))
    return {r.arm: r for r in arms_table(points, Spreads(points))}


def test_an_arm_stands_with_its_deployed_accuracy_and_the_whole_one_beside_it() -> None:
    row = table(*dense(), *three(loss=0.01, test_loss=0.02))["lotus"]
    assert row.val_accuracy_mean == pytest.approx(DENSE - 0.01)
    assert row.test_accuracy_mean == pytest.approx(DENSE - 0.02)
    assert row.test_accuracy_whole == pytest.approx(0.94)
    assert (row.macs_ratio, row.macs_ratio_kept) == (0.9, 0.8)


def test_a_difference_has_limits_in_both_scopes_and_dense_has_none_to_itself() -> None:
    rows = table(*dense(), *three(test_loss=0.02))
    row = rows["lotus"]
    assert (row.reference, row.scope, row.difference_to_dense) == (
        "fine_tuned", "other seeds", pytest.approx(-0.02),
    )  # fmt: skip
    limits = (row.seeds_low, row.models_low, row.models_high, row.seeds_high)
    assert None not in limits
    assert list(limits) == sorted(limits)  # type: ignore[type-var]
    own = rows["dense"]
    assert (own.difference_to_dense, own.models_low, own.seeds_low) == (None, None, None)
    assert own.reference == "fine_tuned"


def test_two_seeds_leave_the_limits_about_other_seeds_out() -> None:
    few = [r for r in [*dense(), *three(test_loss=0.02)] if r["seed"] < 2]
    row = table(*few)["lotus"]
    assert (row.scope, row.seeds_low, row.seeds_high) == ("these models", None, None)
    assert row.models_low is not None
    assert row.ci_low is not None


def test_the_dense_reference_is_the_one_with_most_common_seeds_then_the_best() -> None:
    lotus = three(**{"issp.rounds": 1})
    worse = [trial("dense", seed=s, loss=0.001, **{"finetune.lr": 1}) for s in range(3)]
    fewer = [trial("dense", seed=s, **{"finetune.lr": 2}) for s in range(2)]
    points = group_settings(
        pd.DataFrame([r | {"finetune.lr": r.get("finetune.lr")} for r in (*lotus, *worse, *fewer)]),
        ["finetune.lr"],
    )
    (setting,) = [s for s in points if s.arm == "lotus"]
    reference = dense_for(setting, points)
    assert reference is not None
    assert reference.axes["finetune.lr"] == 1
    assert dense_for(setting, [setting]) is None


def test_the_dense_model_is_one_everywhere_and_says_which() -> None:
    rows = pd.DataFrame([*three("dense", loss=0.01), *three()])
    points = group_settings(rows)
    tuned = dense_summary(rows, points, None)
    assert (tuned["reference"], tuned["n"], tuned["scope"]) == ("fine_tuned", 3, "other seeds")
    assert tuned["test_accuracy"] == pytest.approx(DENSE - 0.01)
    assert tuned["before_fine_tuning"]["test_accuracy"] == pytest.approx(DENSE)
    alone = pd.DataFrame(three())
    before = dense_summary(alone, group_settings(alone), None)
    assert before["reference"] == "before_fine_tuning"
    nested = before.pop("before_fine_tuning")
    assert nested == {k: v for k, v in before.items() if k != "reference"}


def test_the_summary_takes_the_reference_that_it_is_given() -> None:
    rows = [*three("dense", loss=0.0, **{"finetune.lr": 1}),
            *three("dense", loss=0.02, **{"finetune.lr": 2})]  # fmt: skip
    frame = pd.DataFrame(rows)
    points = group_settings(frame, ["finetune.lr"])
    given = next(s for s in points if s.axes["finetune.lr"] == 2)
    assert dense_summary(frame, points, given)["val_accuracy"] == pytest.approx(DENSE - 0.02)
    assert dense_summary(frame, points, None)["val_accuracy"] == pytest.approx(DENSE)
