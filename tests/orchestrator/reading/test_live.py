"""A report that renews itself: how often, how long, and when it ends."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import load_sweep
from orchestrator.reading import live


class Sweep:
    """A store whose sweep has the given states one after another, and a clock."""

    def __init__(self, states: list[str], takes_s: float) -> None:
        self.states, self.takes_s, self.now = list(states), takes_s, 100.0
        self.waited: list[float] = []
        self.said: list[bool] = []

    def report(self, sweep: Any, output: Any, live: Any) -> Path:
        self.now += self.takes_s
        info = SimpleNamespace(status=self.states.pop(0))
        parent = SimpleNamespace(info=info)
        self.said.append(live(SimpleNamespace(tracker=SimpleNamespace(parent=lambda: parent))))
        return Path("report.html")

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    ("takes_s", "wait_s"), [(0.1, live.LEAST_S), (10.0, 10.0 * (1 / live.SHARE - 1))]
)
def test_it_is_written_until_the_sweep_has_ended_at_a_bounded_cost(
    takes_s: float, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(["RUNNING", "RUNNING", "FINISHED"], takes_s)
    monkeypatch.setattr(live, "report", sweep.report)
    clock = {"clock": lambda: sweep.now, "sleep": sweep.sleep}
    found = list(live.renewed(load_sweep("digits"), **clock))  # type: ignore[arg-type]
    assert [w.wait_s for w in found] == [pytest.approx(wait_s), pytest.approx(wait_s), None]
    assert sweep.waited == [pytest.approx(wait_s)] * 2
    assert sweep.said == [True, True, False], "the last page says that it is the last"
    spent = 2 * takes_s
    assert spent <= 1.001 * live.SHARE * (spent + sum(sweep.waited))


@pytest.mark.parametrize("state", ["FAILED", "KILLED", "FINISHED"])
def test_a_sweep_that_has_ended_is_written_once(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep([state], 1.0)
    monkeypatch.setattr(live, "report", sweep.report)
    assert len(list(live.renewed(load_sweep("digits"), sleep=sweep.sleep))) == 1
    assert sweep.waited == []
