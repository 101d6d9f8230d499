"""The prediction that a sweep begins with is noted once, and again when it grows."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.driver.predicted import note_prediction
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import forecast, predicted_hours
from orchestrator.planning.plan import plan
from orchestrator.planning.speeds import learned
from orchestrator.vocabulary import Metric, Tag

GRID = "search: {sparsity: [0.2, 0.3], arm: [lotus, dense]}\n"
SPEEDS = learned([], "cpu")


def noted(planned: Any, tags: dict[str, str], children: Any = (), *, concluded: bool) -> Any:
    """What is written, if anything is."""
    found: list[float] = []
    parent = SimpleNamespace(data=SimpleNamespace(tags=tags))
    log = SimpleNamespace(flush=lambda tags: found.append(float(tags[Tag.PREDICTED_HOURS])))
    tracker = SimpleNamespace(parent=lambda: parent, sweep_log=lambda: log)
    keys = [*(trial.key for trial in planned.trials[: len(children) - 1]), "no more in the file"]
    known = dict(zip(keys, children, strict=False))
    state: Any = SimpleNamespace(plan=planned, tracker=tracker, children=known, finished=set())
    note_prediction(state, SPEEDS, set(), concluded=concluded)
    return found


def test_it_is_what_lotus_plan_says(tiny: Callable[..., SweepConfig]) -> None:
    planned = plan(tiny(GRID))
    hours = forecast(planned, []).device_hours
    assert hours > 0
    assert predicted_hours(planned, SPEEDS, set(), set()) == hours
    done = {trial.key for trial in planned.trials}
    assert predicted_hours(planned, SPEEDS, set(), done) == 0
    assert noted(planned, {}, concluded=False) == [pytest.approx(hours, rel=1e-5)]


def test_a_run_that_goes_on_leaves_the_note_and_one_that_grew_adds_what_was_spent(
    tiny: Callable[..., SweepConfig],
) -> None:
    planned = plan(tiny(GRID))
    before = {Tag.PREDICTED_HOURS: "1"}
    assert noted(planned, before, concluded=False) == []
    run = SimpleNamespace(
        status="FINISHED", tags={Tag.KIND: "trial"}, metrics={Metric.TIME_TOTAL_S: 7200.0}
    )
    other = SimpleNamespace(status="FAILED", tags=run.tags, metrics=run.metrics)
    (hours,) = noted(planned, before, [run, other, run], concluded=True)
    assert hours == pytest.approx(2 + forecast(planned, []).device_hours, rel=1e-5)
