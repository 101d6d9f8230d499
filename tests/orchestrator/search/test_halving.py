"""Successive halving: guesses may differ, decisions may not."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.halving import HalvingSearch, rungs, survivors
from orchestrator.search.proposal import Outcome, Point


def search(count: int, **changes: int) -> HalvingSearch:
    candidates = tuple({"arm": "lotus", "sparsity": i / 100} for i in range(count))
    return replace(HalvingSearch(candidates, seeds=(0, 1), budget=9), **changes)


def truth_of(
    table: dict[tuple[float, int], float], failing: frozenset[float] = frozenset()
) -> Callable[[Point], Outcome]:
    """Accuracy by (candidate, rung); seeds differ around it."""

    def truth(point: Point) -> Outcome:
        if point.axes["sparsity"] in failing:
            return Outcome(None)
        if not point.rungs:
            return Outcome({"final/val_accuracy": 0.9})
        mean = table[point.axes["sparsity"], point.rungs[-1]]
        return Outcome({"rung/val_accuracy": mean + (0.01 if point.axes["seed"] else -0.01)})

    return truth


def noisy(count: int, seed: int) -> dict[tuple[float, int], float]:
    draw = random.Random(seed)
    return {(i / 100, epochs): draw.choice([0.1, 0.2, 0.3, 0.4]) for i in range(count)
            for epochs in (1, 2, 3, 4, 6, 8, 9, 27)}  # fmt: skip


def by_hand(count: int, table: dict[tuple[float, int], float], method: HalvingSearch) -> set[str]:
    """Synchronous successive halving, written down plainly."""
    group = [i / 100 for i in range(count)]
    found: set[tuple[float, tuple[int, ...]]] = set()
    for k, epochs in enumerate(method.rungs):
        found |= {(c, method.rungs[: k + 1]) for c in group}
        size = survivors(len(group), method.reduction, method.winners)
        if k == len(method.rungs) - 1:
            size = method.winners
        group = sorted(group, key=lambda c: (-table[c, epochs], c))[:size]
    found |= {(c, ()) for c in group}
    return {Point({"arm": "lotus", "sparsity": c, "seed": s}, r).ident
            for c, r in found for s in method.seeds}  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "lowest", "reduction", "epochs"),
    [(27, 1, 3, (1, 3, 9)), (28, 1, 3, (1, 3, 9, 27)), (5, 1, 3, (1, 3)), (5, 2, 2, (2, 4)),
     (2, 1, 3, (1,))],
)  # fmt: skip
def test_rungs_rise_by_the_reduction_and_stay_below_the_budget(
    budget: int, lowest: int, reduction: int, epochs: tuple[int, ...]
) -> None:
    assert rungs(budget, lowest, reduction) == epochs


@settings(deadline=None)
@given(
    st.integers(1, 14), st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 9),
    st.integers(2, 4), st.integers(1, 3),
)  # fmt: skip
def test_any_order_of_results_leads_to_the_synchronous_decision(
    fakes: Any, count: int, world: int, order: int, slots: int, reduction: int, winners: int
) -> None:
    method, table = search(count, reduction=reduction, winners=winners), noisy(count, world)
    found, ran = fakes.run_all(method, fakes.bench(truth_of(table)), random.Random(order), slots)
    assert found.complete
    assert {p.ident for p in found.points} == by_hand(count, table, method)
    assert len(found.points) == found.expected
    assert {p.ident for p in found.points} <= {p.ident for p in ran}


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 100), st.integers(0, 30), st.integers(0, 9))
def test_an_interrupted_search_ends_as_an_undisturbed_one(
    fakes: Any, count: int, world: int, most: int, order: int
) -> None:
    method, table = search(count), noisy(count, world)
    bench = fakes.bench(truth_of(table))
    early, _ = fakes.run_all(method, bench, random.Random(order), slots=3, most=most)
    found, _ = fakes.run_all(method, bench, random.Random(order + 1))
    assert {p.ident for p in found.points} == by_hand(count, table, method)
    assert {p.ident for p in early.points} <= {p.ident for p in found.points}


def test_a_candidate_is_promoted_before_its_rung_is_complete_and_before_new_ones_start(
    fakes: Any,
) -> None:
    method = search(9, budget=9)
    table = {(i / 100, e): 0.9 - i / 100 for i in range(9) for e in (1, 3)}
    bench = fakes.bench(truth_of(table))
    _, ran = fakes.run_all(method, bench, random.Random(0), slots=1)
    started = [(p.axes["sparsity"], p.rungs[-1]) for p in ran if p.rungs and not p.axes["seed"]]
    assert started[:4] == [(0.0, 1), (0.01, 1), (0.02, 1), (0.0, 3)]


def test_a_full_training_is_never_a_guess(fakes: Any) -> None:
    method, order = search(9), random.Random(5)
    bench = fakes.bench(truth_of(noisy(9, 3)))
    while not (found := method.propose(bench)).complete:
        assert all(point.rungs for point in (*found.points, *found.early))
        left = [p for p in (*found.early, *found.points) if bench.outcome(p) is None]
        bench.run(order.choice(left))
    assert [p.rungs for p in found.points].count(()) == 2


def test_a_wrong_guess_is_no_part_of_the_sweep(fakes: Any) -> None:
    method = search(6, seeds=1).__class__(search(6).candidates, (0,), budget=9)
    table = {(i / 100, e): i / 100 for i in range(6) for e in (1, 3)}  # the best come last
    found, ran = fakes.run_all(method, fakes.bench(truth_of(table)), random.Random(0))
    sure = {p.ident for p in found.points}
    wrong = [p for p in ran if p.ident not in sure]
    assert wrong, "this order of results makes ASHA promote somebody in vain"
    assert all(p.rungs == (1, 3) for p in wrong)


def test_ties_are_broken_by_order(fakes: Any) -> None:
    method = search(9)
    table = {(i / 100, e): 0.5 for i in range(9) for e in (1, 3)}
    found, _ = fakes.run_all(method, fakes.bench(truth_of(table)), random.Random(1), slots=4)
    assert {p.axes["sparsity"] for p in found.points if not p.rungs} == {0.0}


def test_a_failed_candidate_never_goes_on_and_all_failed_end_the_search(fakes: Any) -> None:
    table = {(i / 100, e): 0.9 - i / 100 for i in range(9) for e in (1, 3)}
    method = search(9)
    bench = fakes.bench(truth_of(table, frozenset({0.0})))
    found, _ = fakes.run_all(method, bench, random.Random(1))
    assert {p.axes["sparsity"] for p in found.points if not p.rungs} == {0.01}
    bench = fakes.bench(lambda _: Outcome(None))
    found, _ = fakes.run_all(method, bench, random.Random(1))
    assert found.complete
    assert not [p for p in found.points if not p.rungs]


def test_candidates_that_are_the_same_trials_count_once(fakes: Any) -> None:
    method = search(6)
    table = noisy(6, 0) | {(i / 100, e): 0.5 for i in range(6) for e in (1, 3)}

    def key(point: Point) -> str:
        merged = int(point.axes["sparsity"] * 100 + 0.5) // 2
        return f"{merged}/{point.axes['seed']}/{point.rungs}"

    found, _ = fakes.run_all(method, fakes.bench(truth_of(table), key), random.Random(0))
    assert [p.axes["sparsity"] for p in found.points if p.rungs == (1,)] == [
        0.0, 0.0, 0.02, 0.02, 0.04, 0.04,
    ]  # fmt: skip


def test_the_winner_is_the_trial_that_a_grid_would_have_run(fakes: Any) -> None:
    found, _ = fakes.run_all(search(5), fakes.bench(truth_of(noisy(5, 1))), random.Random(0))
    winners = [p for p in found.points if not p.rungs]
    assert {p.axes["seed"] for p in winners} == {0, 1}
    assert all(p.axes | {"seed": 0} in [c | {"seed": 0} for c in search(5).candidates]
               for p in winners)  # fmt: skip
