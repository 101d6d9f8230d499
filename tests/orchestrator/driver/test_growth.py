"""What the plan of a running sweep knows of its results."""

from collections.abc import Callable

from orchestrator.driver.growth import Growth
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Planner
from orchestrator.planning.speeds import learned
from orchestrator.search import Outcome


def test_trials_that_were_finished_before_tell_their_accuracy(
    tiny: Callable[..., SweepConfig],
) -> None:
    planner = Planner(tiny("search: {arm: [lotus, dense, tickets]}\n"))
    planned = planner.plan({})
    lotus, dense, tickets = planned.trials
    outcomes = {
        lotus.key: Outcome({"final/deployed_val_accuracy": 0.9}),
        dense.key: Outcome(None),
        tickets.key: Outcome({"rung/val_accuracy": 0.8}),
    }
    growth = Growth(planner, planned, set(), set(), outcomes, learned([], "cpu"))
    ((item, accuracy),) = growth.scores()
    assert (item.key, item.name, item.arm, accuracy) == (lotus.key, lotus.name, "lotus", 0.9)
    assert {item.arm for item, _ in growth.work(planned.trials, {})} == {
        "lotus",
        "dense",
        "tickets",
    }
