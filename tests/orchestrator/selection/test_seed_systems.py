"""Token reduction in tables and comparisons: under its method's name, beside its own control."""

from typing import Any

import pandas as pd

from dashboards.arms import Arms
from orchestrator.selection.arms import known_arms
from orchestrator.selection.contrasts import contrasts
from orchestrator.selection.pareto import front
from orchestrator.selection.settings import best_settings, group_settings
from tests.orchestrator.selection.conftest import ended, trial
from trials.arms import ARMS, SYSTEM_CONTROLS, TESTS

AXES = ["reduction.method", "reduction.keep", "reduction.r"]


def rows(arm: str, loss: float, drop: float | None = None, **settings: Any) -> list[dict[str, Any]]:
    config = {"patch_drop": drop, "sparsity": None, "mask_data_fraction": None}
    config |= dict.fromkeys(AXES) | {f"reduction.{name}": v for name, v in settings.items()}
    sizes = {"final/sparsity": 0.0, "final/macs_deployed": 50.0, "final/macs_dense": 100.0}
    return [trial(arm, config, seed, **ended(loss), **sizes) for seed in range(3)]


def table() -> pd.DataFrame:
    found = rows("dense", 0.0)
    for method, loss in (("evit", 0.01), ("random", 0.02), ("tome", 0.005)):
        own = {"r": 8} if method == "tome" else {"keep": 0.7}
        found += rows("reduced", loss, method=method, **own)
    found += rows("reduced", 0.001, method="random", keep=0.9)
    found += rows("tickets", 0.01, 0.2) + rows("tickets", 0.0, 0.0)
    found += rows("random_tickets", 0.015, 0.2)
    return pd.DataFrame(found)


def test_each_method_is_a_row_of_its_own_after_the_parts_of_lotus() -> None:
    best = best_settings(group_settings(table(), AXES))
    assert list(best) == ["dense", "tickets", "evit", "tome", "random", "random_tickets"]
    assert best["tome"].axes["reduction.r"] == 8
    assert best["random"].axes["reduction.keep"] == 0.9


def test_the_front_has_the_systems_and_not_what_controls_them() -> None:
    assert {s.arm for s in front(group_settings(table(), AXES))} <= {
        "dense",
        "tickets",
        "evit",
        "tome",
    }
    alone = group_settings(table()[table()["arm"] == "random_tickets"], AXES)
    assert front(alone) == []


def test_pages_know_the_methods_by_name_label_and_look() -> None:
    known = Arms.of({"known_arms": known_arms()})
    assert [known.label(name) for name in ("evit", "tome", "dynamicvit", "random")] == [
        "EViT",
        "ToMe",
        "DynamicViT",
        "Random tokens",
    ]
    assert [one["arm"] for one in known_arms() if one["arm"] in {arm.name for arm in ARMS}] == [
        arm.name for arm in ARMS
    ]


def test_each_system_is_compared_with_its_own_control_at_equal_settings() -> None:
    found = [
        (one.a.arm, one.b.arm, one.a.axes, one.b.axes)
        for one in contrasts(group_settings(table(), AXES))
        if one.family == "against_controls"
    ]
    assert [pair[:2] for pair in found] == [
        (system, control) for system, control, _ in SYSTEM_CONTROLS
    ]
    for _, _, mine, theirs in found:
        same = {axis for axis in mine if mine[axis] == theirs[axis]}
        assert same >= {"patch_drop", "reduction.keep"}
    assert found[0][2]["patch_drop"] == 0.2, "tickets of all patches have nothing to control"
    assert all(TESTS[control] for _, control, _ in SYSTEM_CONTROLS)
