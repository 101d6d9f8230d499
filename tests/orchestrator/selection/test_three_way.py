"""The three-way test of Data-LTH. No number here was measured."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection import data_lth, wanted_trials
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.statistics import Interval
from orchestrator.selection.three_way import three_way, threes
from tests.orchestrator.selection.conftest import DENSE, N, ended, trial

SCRATCH: dict[str, Any] = {
    "finetune.weights": "random",
    "finetune.epochs": "8",
    "data.name": "cifar10",
    "patch_drop": None,
    "sparsity": None,
    "tickets.nested_keep": None,
    "tickets.selection": "online",
}


def student(
    arm: str, accuracy: float, seed: int, drop: float = 0.25, **more: Any
) -> dict[str, Any]:
    """A finished trial; as many images right as that."""
    left = {"patch_drop": drop, "tickets.nested_keep": str(1 - drop / 2)} if arm != "dense" else {}
    metrics = ended(DENSE - accuracy) | {"final/drawn_test_accuracy": 0.3}
    return trial(arm, SCRATCH | left | more, seed, **metrics)


def sweep(a: float, b: float, c: float, seeds: int = 3, **more: Any) -> list[dict[str, Any]]:
    pairs = (("tickets", a), ("random_tickets", b), ("dense", c))
    return [student(arm, level, seed, **more) for arm, level in pairs for seed in range(seeds)]


def images(rows: list[dict[str, Any]]) -> Outcomes:
    """Of each trial the first images right, so that two models differ in as few as can be."""
    right = {}
    for row in rows:
        correct = np.arange(N) < round(row["final/deployed_test_accuracy"] * N)
        right[row["key"]] = {"deployed.test": correct, "final.test": correct}
    return right


def judged(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    (found,) = data_lth(pd.DataFrame(rows), outcomes=images(rows), **options)
    return found


@pytest.mark.parametrize(
    ("a", "b", "c", "verdict", "why"),
    [
        (0.60, 0.55, 0.60, "reproduced", "better than on random patches and within 1 point of all"),
        (0.60, 0.55, 0.56, "reproduced", "better than on random"),
        (0.60, 0.55, 0.65, "not reproduced", "not within 1 point of all patches"),
        (0.55, 0.60, 0.55, "not reproduced", "not better than on random patches"),
        (0.50, 0.60, 0.70, "not reproduced", "not better than on random patches and not within"),
        (0.60, 0.60, 0.60, "undecided", "cannot be told whether better than on random patches"),
        (0.60, 0.55, 0.61, "undecided", "cannot be told whether within 1 point of all patches"),
    ],
)
def test_a_ticket_wins_against_random_patches_and_near_all_of_them(
    a: float, b: float, c: float, verdict: str, why: str
) -> None:
    found = judged(sweep(a, b, c))
    assert found["verdict"] == verdict
    assert why in found["why"]
    assert found["n"] == 3
    assert found["scope"] == "other seeds"
    assert found["mean"] == pytest.approx(a - b)
    assert found["against_random"]["mean"] == pytest.approx(a - b)
    assert found["against_dense"]["mean"] == pytest.approx(a - c)
    shown = {"a": a, "b": b, "c": c, "a_whole": a, "b_whole": b, "b_own": 0.3}
    assert found["accuracy"] == pytest.approx(shown)
    assert all(f"{100 * level:.1f} %" in found["ours"] for level in (a, b, c))


def test_two_seeds_decide_nothing() -> None:
    found = judged(sweep(0.60, 0.50, 0.60, seeds=2))
    assert (found["verdict"], found["why"]) == ("undecided", "2 of at least 3 seeds")
    assert found["scope"] == "these models"


def test_near_is_the_tolerance() -> None:
    rows = sweep(0.60, 0.50, 0.62)
    assert judged(rows, tolerance=0.01)["verdict"] == "not reproduced"
    assert judged(rows, tolerance=0.05)["verdict"] == "reproduced"


def test_both_limits_hold_together() -> None:
    """Each at 97.5 %, so that both hold at 95 %."""
    rows = sweep(0.60, 0.58, 0.60)
    found, (test,) = judged(rows), threes(pd.DataFrame(rows))
    spreads = Spreads([test.a, test.b, test.c])
    for contrast, name in zip(test.contrasts, ("against_random", "against_dense"), strict=True):
        gap = spreads.difference(contrast, contrast.pairs(images(rows)))
        assert gap is not None
        expected, alone = (gap.interval(gap.scope, level) for level in (0.975, 0.95))
        assert (found[name]["low"], found[name]["high"]) == (expected.low, expected.high)
        assert expected.low != alone.low


def test_a_limit_on_the_line_decides_nothing() -> None:
    edge = Interval(mean=0.01, low=0.0, high=0.02)
    clear = Interval(mean=0.01, low=0.001, high=0.02)
    assert three_way(edge, clear, 3, 0.01)[0] == "undecided"
    assert three_way(clear, Interval(mean=0.0, low=-0.0099, high=0.01), 3, 0.01)[0] == "reproduced"
    assert three_way(clear, Interval(mean=0.0, low=-0.0101, high=0.01), 3, 0.01)[0] == "undecided"
    unknown = Interval(mean=0.01, low=None, high=None)
    assert three_way(unknown, clear, 3, 0.01)[0] == "undecided"


def test_seeds_that_one_of_the_three_lacks_do_not_count() -> None:
    rows = sweep(0.60, 0.50, 0.60, seeds=4)
    less = [row for row in rows if not (row["arm"] == "random_tickets" and row["seed"] == 3)]
    less[3] |= ended(DENSE - 0.1)  # (a) of the seed that (b) lacks
    assert less[3]["seed"] == 3
    found = judged(less)
    assert found["n"] == 3
    assert found["accuracy"]["a"] == pytest.approx(0.60)


def test_each_number_of_patches_is_a_test_of_its_own_against_one_dense_model() -> None:
    rows = sweep(0.60, 0.50, 0.60, drop=0.5) + sweep(0.60, 0.50, 0.60, drop=0.25)[:6]
    found = data_lth(pd.DataFrame(rows), outcomes=images(rows))
    assert [one["patch_drop"] for one in found] == [0.25, 0.5]
    assert [one["nested_keep"] for one in found] == [0.875, 0.75]
    assert [one["id"] for one in found] == ["data_lth_0.75", "data_lth_0.5"]
    assert {one["verdict"] for one in found} == {"reproduced"}


def test_one_random_student_stands_beside_both_ways_to_select() -> None:
    rows = sweep(0.60, 0.50, 0.60)
    rows += [student("tickets", 0.58, s, **{"tickets.selection": "static"}) for s in range(3)]
    assert sorted(one["accuracy"]["a"] for one in data_lth(pd.DataFrame(rows))) == [
        pytest.approx(0.58),
        pytest.approx(0.60),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"finetune.weights": "current"},
        {"patch_drop": 0.0},
        {"tickets.select": "lowest"},
        {"data.name": "digits"},
        {"finetune.epochs": "9"},
    ],
)
def test_what_differs_in_more_than_the_patches_is_no_test(change: dict[str, Any]) -> None:
    rows = [row | {"tickets.select": "attention"} for row in sweep(0.60, 0.50, 0.60)]
    assert len(threes(pd.DataFrame(rows))) == 1
    other = [row | change if row["arm"] == "tickets" else row for row in rows]
    assert threes(pd.DataFrame(other)) == []


def test_equal_exposure_is_still_compared_with_all_patches() -> None:
    rows = sweep(0.60, 0.50, 0.60, **{"finetune.budget": "exposure"})
    dense = [row | {"finetune.budget": None} for row in rows if row["arm"] == "dense"]
    assert len(threes(pd.DataFrame(rows[:6] + dense))) == 1


@pytest.mark.parametrize("arm", ["tickets", "random_tickets", "dense"])
def test_two_of_the_three_are_no_test(arm: str) -> None:
    rows = [row for row in sweep(0.60, 0.50, 0.60) if row["arm"] != arm]
    assert data_lth(pd.DataFrame(rows)) == []


def test_an_empty_sweep_has_no_test() -> None:
    assert data_lth(pd.DataFrame()) == []


def test_the_images_of_all_three_are_read() -> None:
    rows = sweep(0.60, 0.50, 0.60, drop=0.5) + sweep(0.61, 0.50, 0.60, drop=0.25)[:6]
    assert set(wanted_trials(pd.DataFrame(rows), axes=["tickets.nested_keep"])) >= {
        row["key"] for row in rows
    }
