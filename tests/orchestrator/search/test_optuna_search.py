"""Optuna in generations: a function of the results, whatever their order."""

import random
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.search.optuna_search import OptunaSearch
from orchestrator.search.proposal import Outcome, Point
from orchestrator.search.space import Range

SEARCH = OptunaSearch(
    space={
        "sparsity": (0.1, 0.2, 0.3, 0.4, 0.5),
        "patch_drop": Range(low=0.0, high=0.5, step=0.05),
        "finetune.lr": Range(low=1e-5, high=1e-1, log=True),
        "issp.steps": Range(low=1, high=9),
        "issp.merge": ("vote_topk", "majority"),
        "arm": ("lotus",),
    },
    seeds=(0, 1),
    samples=14,
    batch=4,
    sampling_seed=0,
    objectives=("accuracy", "macs", "sparsity"),
)


def truth(point: Point) -> Outcome:
    """Smooth in every axis; one corner of the space fails."""
    axes = point.axes
    if axes["issp.steps"] == 9 and axes["seed"] == 1:
        return Outcome(None)
    accuracy = 0.9 - (axes["sparsity"] - 0.2) ** 2 + 0.001 * axes["seed"]
    return Outcome({
        "final/deployed_val_accuracy": accuracy, "final/sparsity": axes["sparsity"],
        "final/macs_deployed": 100 * (1 - axes["patch_drop"]),
    })  # fmt: skip


def final(fakes: Any, search: OptunaSearch, order: int = 0, slots: int = 1) -> list[str]:
    found, _ = fakes.run_all(search, fakes.bench(truth), random.Random(order), slots)
    assert found.complete
    return [point.ident for point in found.points]


@pytest.mark.parametrize(("order", "slots"), [(1, 1), (2, 3), (3, 8), (4, 100)])
def test_neither_order_nor_number_of_devices_changes_the_trials(
    fakes: Any, order: int, slots: int
) -> None:
    assert final(fakes, SEARCH, order, slots) == final(fakes, SEARCH)


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 8, 13])
def test_more_samples_only_add(fakes: Any, samples: int) -> None:
    fewer = final(fakes, replace(SEARCH, samples=samples))
    assert final(fakes, SEARCH)[: len(fewer)] == fewer
    assert len(fewer) <= 2 * samples


@pytest.mark.parametrize("after", [0, 1, 5, 9, 17])
def test_an_interrupted_search_goes_on_where_it_was(fakes: Any, after: int) -> None:
    bench = fakes.bench(truth)
    first, ran = fakes.run_all(SEARCH, bench, random.Random(after), slots=3, most=after)
    assert len(ran) == after
    assert not first.complete
    again, _ = fakes.run_all(replace(SEARCH), bench, random.Random(0))
    assert [p.ident for p in again.points] == final(fakes, SEARCH)
    assert [p.ident for p in first.points] == final(fakes, SEARCH)[: len(first.points)]


def test_only_one_generation_is_open_at_a_time(fakes: Any) -> None:
    found = SEARCH.propose(fakes.bench(truth))
    assert len(found.points) == 4 * 2
    assert (found.complete, found.expected) == (False, 14 * 2)


def test_a_finished_search_proposes_nothing_new(fakes: Any) -> None:
    bench = fakes.bench(truth)
    found, ran = fakes.run_all(SEARCH, bench, random.Random(0))
    assert found.complete
    assert found.expected == len(found.points) == len(ran)


def test_every_value_is_one_of_its_axis(fakes: Any) -> None:
    found, _ = fakes.run_all(SEARCH, fakes.bench(truth), random.Random(0))
    for point in found.points:
        for name, values in SEARCH.space.items():
            value = point.axes[name]
            if isinstance(values, Range):
                assert values.low <= value <= values.high
                assert values.grid is None or value in values.grid
                assert isinstance(value, int) == values.whole
            else:
                assert value in values


def test_every_setting_runs_for_all_seeds(fakes: Any) -> None:
    found, _ = fakes.run_all(SEARCH, fakes.bench(truth), random.Random(0))
    settings = [{**p.axes, "seed": None} for p in found.points]
    assert all(settings.count(one) == 2 for one in settings)


def test_a_setting_proposed_twice_counts_twice_and_runs_once(fakes: Any) -> None:
    search = replace(SEARCH, space={"sparsity": (0.1, 0.2)}, samples=9, seeds=(0,))
    bench = fakes.bench(lambda p: Outcome({
        "final/deployed_val_accuracy": p.axes["sparsity"],
        "final/macs_deployed": 1.0, "final/sparsity": 0.5,
    }))  # fmt: skip
    found, ran = fakes.run_all(search, bench, random.Random(0))
    assert len(ran) == len(found.points) <= 2
    assert found.complete


def test_results_steer_the_search_and_the_objective_decides_where(fakes: Any) -> None:
    space = {"sparsity": tuple(i / 20 for i in range(19)), "patch_drop": (0.0, 0.1)}
    search = replace(SEARCH, space=space, seeds=(0,), samples=40)

    def peaked(at: float) -> Any:
        return fakes.bench(lambda p: Outcome({
            "final/deployed_val_accuracy": -abs(p.axes["sparsity"] - at),
            "final/macs_deployed": 1.0, "final/sparsity": 0.0,
        }))  # fmt: skip

    def late(at: float) -> float:
        bench = peaked(at)
        method = replace(search, objectives=("accuracy",))
        told = fakes.run_all(method, bench, random.Random(0))[1][10:]
        return sum(p.axes["sparsity"] for p in told) / len(told)

    assert late(0.0) + 0.15 < late(0.9)


def test_failed_settings_do_not_stop_the_search(fakes: Any) -> None:
    found, ran = fakes.run_all(SEARCH, fakes.bench(lambda _: Outcome(None)), random.Random(0))
    assert found.complete
    assert len(ran) == len(found.points)


def test_another_sampling_seed_is_another_search(fakes: Any) -> None:
    assert final(fakes, replace(SEARCH, sampling_seed=1)) != final(fakes, SEARCH)
