"""Two made-up sweeps beside each other: what is compared, and what is not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection.beside import beside, settings_of, shared_trials
from orchestrator.selection.settings import Setting

N = 2_000
Bits = dict[str, dict[str, Any]]


def sweep(name: str, wrong: int, seeds: int = 3) -> tuple[pd.DataFrame, Bits]:
    """Two settings; `lotus` gets the first `wrong` images wrong, other seeds two more each."""
    rows, outcomes = [], {}
    for arm in ("dense", "lotus"):
        for seed in range(seeds):
            right = np.ones(N, bool)
            right[: 20 if arm == "dense" else wrong + 2 * seed] = False
            key = f"{name}-{arm}-{seed}"
            outcomes[key] = {"final.test": right}
            rows.append({
                "key": key, "name": key, "arm": arm, "status": "FINISHED", "seed": seed,
                "sparsity": None if arm == "dense" else 0.3, "rung": None,
                "stage.finetune": "dense" if arm == "dense" else key,
                "stage.dense": f"{name}-{seed}", "dense/test_n": N, "dense/test_accuracy": 0.9,
                "final/val_accuracy": right.mean(), "final/test_accuracy": right.mean(),
                "final/test_lost": 3, "final/test_gained": 3,
            })  # fmt: skip
    return pd.DataFrame(rows), outcomes


def pair(wrong_a: int, wrong_b: int, seeds: int = 3, same: bool = True) -> dict[str, Any]:
    (a, known_a), (b, known_b) = sweep("a", wrong_a, seeds), sweep("b", wrong_b, seeds)
    mine, theirs = settings_of(a, b, [])
    return beside(mine, theirs, (known_a, known_b), same)


def lotus(found: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = next(r for r in found["shared"] if r["arm"] == "lotus")
    return row


def test_the_difference_is_the_second_minus_the_first_over_common_images() -> None:
    row = lotus(pair(100, 160))
    assert row["difference"] == pytest.approx(-60 / N)
    assert row["test_accuracy_b"] - row["test_accuracy_a"] == pytest.approx(-60 / N)
    assert (row["n"], row["n_images"], row["verdict"]) == (3, N, "worse")
    assert row["models_low"] < -60 / N < row["models_high"] < 0


def test_swapped_sweeps_give_the_opposite_difference() -> None:
    there, back = lotus(pair(100, 160)), lotus(pair(160, 100))
    for one, other in (("models_low", "models_high"), ("seeds_low", "seeds_high")):
        assert there[one] == pytest.approx(-back[other])
    assert (there["verdict"], back["verdict"]) == ("worse", "better")


def test_the_same_models_are_said_to_be_the_same_and_are_not_compared() -> None:
    found = pair(100, 100)
    dense = next(r for r in found["shared"] if r["arm"] == "dense")
    assert dense["same_models"]
    assert (dense["difference"], dense["verdict"]) == (None, None)
    assert not lotus(found)["same_models"]
    assert found["compared"] == 1


def test_other_images_are_not_compared() -> None:
    found = pair(100, 160, same=False)
    assert lotus(found)["difference"] is None
    assert lotus(found)["test_accuracy_a"] == pytest.approx(1 - 102 / N)
    assert (found["compared"], found["same_images"]) == (0, False)


def test_two_seeds_say_nothing_about_other_seeds() -> None:
    row = lotus(pair(100, 160, seeds=2))
    assert (row["seeds_low"], row["scope"]) == (None, "these models")


def test_without_outcomes_the_models_count_as_independent() -> None:
    """Counts against each sweep's own dense model would say that nearly all images agree."""
    (a, known_a), (b, known_b) = sweep("a", 100), sweep("b", 100)
    mine, theirs = settings_of(a, b, [])
    exact = lotus(beside(mine, theirs, (known_a, known_b), True))
    wide = lotus(beside(mine, theirs, ({}, {}), True))
    width = [row["models_high"] - row["models_low"] for row in (exact, wide)]
    assert width[1] > 3 * width[0]


def test_an_axis_of_one_sweep_alone_parts_the_settings() -> None:
    (a, _), (b, _) = sweep("a", 100), sweep("b", 100)
    mine, theirs = settings_of(a.assign(**{"finetune.lr": 0.1}), b, ["finetune.lr"])
    found = beside(mine, theirs, ({}, {}), True)
    assert (found["shared"], found["only_a"], found["only_b"]) == ([], 2, 2)
    assert "finetune.lr" not in b


def test_outcomes_are_read_of_shared_settings_only() -> None:
    (a, _), (b, _) = sweep("a", 100), sweep("b", 100)
    mine, theirs = settings_of(a, b[b["arm"] == "dense"], [])
    keys = shared_trials(mine, theirs)
    assert keys == ([f"a-dense-{s}" for s in range(3)], [f"b-dense-{s}" for s in range(3)])
    assert all(isinstance(s, Setting) for s in mine)
