"""What a search found, from the table of trials."""

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.selection import summarise
from orchestrator.selection.halving import halving
from orchestrator.selection.pareto import dominates, pareto
from orchestrator.selection.settings import group_settings


def full(arm: str = "lotus", seed: int = 0, **values: Any) -> dict[str, Any]:
    """A finished full trial."""
    row = {
        "arm": arm, "seed": seed, "status": "FINISHED", "sparsity": 0.3, "patch_drop": 0.1,
        "mask_data_fraction": 0.1, "rung": None, "stage.dense": f"dense-{seed}",
        "dense/val_accuracy": 0.9, "dense/test_accuracy": 0.89, "dense/val_n": 100.0,
        "essential/val_accuracy": 0.9, "final/val_accuracy": 0.9, "final/test_accuracy": 0.88,
        "final/deployed_val_accuracy": 0.9, "final/deployed_test_accuracy": 0.88,
        "final/macs": 80.0, "final/macs_selector": 10.0, "final/macs_deployed": 90.0,
        "final/macs_dense": 100.0, "final/sparsity": 0.5,
    }  # fmt: skip
    row |= values
    return row | {"key": str(sorted(map(str, row.items()))), "name": "n", "run_id": "r"}


def stopped(rung: int, accuracy: float, **values: Any) -> dict[str, Any]:
    """A trial stopped after some epochs: validation only."""
    own = {k: v for k, v in full(**values).items()
           if not k.startswith("final/") and "test" not in k}  # fmt: skip
    return own | {"rung": float(rung), "rung/val_accuracy": accuracy}


LADDER = [
    *(stopped(1, i / 10, sparsity=i / 10) for i in range(1, 5)),
    stopped(3, 0.6, sparsity=0.4),
    stopped(3, 0.7, sparsity=0.3),
    full(sparsity=0.3),
]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return summarise(
        pd.DataFrame(rows), sweep="s", planned=len(rows), device="cpu", device_hours=0.0,
        device_hours_saved=0.0, wall_s=None,
    )  # fmt: skip


triples = st.tuples(*[st.integers(0, 3)] * 3)


@given(st.lists(triples, min_size=1, max_size=8, unique=True))
def test_the_front_is_what_nothing_dominates_and_dominates_all_else(
    points: list[tuple[int, int, int]],
) -> None:
    rows = [full(sparsity=i / 10, **{"final/deployed_val_accuracy": a / 10,
                                     "final/macs_deployed": float(m + 1), "final/sparsity": s / 10})
            for i, (a, m, s) in enumerate(points)]  # fmt: skip
    found = pareto(group_settings(pd.DataFrame(rows)))
    kept = {points[round(row["setting"]["sparsity"] * 10)] for row in found}
    assert kept
    costs = {p: (float(-p[0]), float(p[1]), float(-p[2])) for p in points}
    for point in points:
        beaten = any(dominates(costs[other], costs[point]) for other in points)
        assert (point in kept) == (not beaten)
    for point in set(points) - kept:
        assert any(dominates(costs[other], costs[point]) for other in kept)


def test_controls_and_stopped_trials_are_on_no_front() -> None:
    rows = [
        full(),
        full(arm="random_mask", **{"final/deployed_val_accuracy": 0.99}),
        stopped(1, 1.0),
    ]
    assert [row["arm"] for row in pareto(group_settings(pd.DataFrame(rows)))] == ["lotus"]


def test_rungs_say_who_went_on_and_who_won() -> None:
    found = halving(pd.DataFrame(LADDER))
    assert found is not None
    assert [(r["epochs"], r["candidates"], r["kept"]) for r in found["rungs"]] == [
        (1, 4, 2), (3, 2, 1),
    ]  # fmt: skip
    first = found["candidates"][0]
    assert (first["won"], first["setting"]["sparsity"]) == (True, 0.3)
    assert first["curve"] == [[1, 0.3], [3, 0.7]]
    assert [c["won"] for c in found["candidates"]] == [True, False, False, False]
    assert [c["test_accuracy"] for c in found["candidates"]] == [0.88, None, None, None]


def test_accuracies_of_a_candidate_are_means_over_seeds() -> None:
    found = halving(pd.DataFrame([stopped(1, 0.2, seed=0), stopped(1, 0.4, seed=1)]))
    assert found is not None
    (one,) = found["candidates"]
    assert (one["n"], one["curve"]) == (2, [[1, 0.30000000000000004]])


def test_a_grid_has_no_halving() -> None:
    assert halving(pd.DataFrame([full()])) is None
    assert summary([full()])["halving"] is None


def test_a_sweep_of_which_only_rungs_have_run_is_summarised_without_final_numbers() -> None:
    rows = [{k: v for k, v in row.items() if not k.startswith("final/")} for row in LADDER[:6]]
    found = summary(rows)
    assert found["arms"] == []
    assert found["recommended"] is None
    assert found["pareto"] == []
    assert found["trials"]["finished"] == 6


def test_the_dense_models_test_accuracy_is_not_lost_behind_a_stopped_trial() -> None:
    found = summary(LADDER)["dense"]
    assert (found["reference"], found["test_accuracy"]) == ("before_fine_tuning", 0.89)
    assert found["before_fine_tuning"]["test_accuracy"] == 0.89


def test_accuracy_on_whole_images_and_macs_of_kept_patches_move_nothing_on_the_front() -> None:
    rows = [full(patch_drop=q / 10) for q in (1, 2, 3)]
    rows[0] |= {"final/deployed_val_accuracy": 0.91}
    expected = pareto(group_settings(pd.DataFrame(rows)))
    flattered = [dict(row) for row in rows]
    flattered[1] |= {"final/val_accuracy": 0.99, "final/macs": 1.0}
    found = pareto(group_settings(pd.DataFrame(flattered)))
    assert [r["setting"] for r in found] == [r["setting"] for r in expected]
    assert [(r["macs"], r["macs_ratio"], r["macs_ratio_kept"]) for r in expected] == [
        (90.0, 0.9, 0.8)
    ]


def test_a_trial_of_before_that_drops_patches_is_on_no_front_and_a_whole_one_is() -> None:
    old = [
        {k: v for k, v in full(patch_drop=q).items() if "deployed" not in k and "sel" not in k}
        for q in (0.0, 0.1)
    ]
    found = pareto(group_settings(pd.DataFrame(old)))
    assert [(row["setting"]["patch_drop"], row["macs"]) for row in found] == [(0.0, 80.0)]
