"""Pairs of models: exact differences, the largest discordance that counts allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.selection.pairs import (
    FINAL,
    Pair,
    between,
)


def row(key: str, dense: np.ndarray, own: np.ndarray) -> dict[str, object]:
    """A trial with the counts that its bits mean."""
    return {
        "key": key, "final/deployed_test_accuracy": float(own.mean()), "dense/test_n": len(own),
        "dense/test_accuracy": float(dense.mean()), "stage.finetune": None,
        "final/deployed_test_lost": int((dense & ~own).sum()),
        "final/deployed_test_gained": int((~dense & own).sum()),
    }  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_counts_bound_the_discordance_and_keep_the_difference(
    seed: int, p: float, q: float, r: float
) -> None:
    rng = np.random.default_rng(seed)
    dense, one, two = (rng.random(200) < share for share in (p, q, r))
    a, b = row("a", dense, one), row("b", dense, two)
    bound = between(a, b, FINAL)
    exact = between(
        a, b, FINAL, outcomes={"a": {"deployed.test": one}, "b": {"deployed.test": two}}
    )
    assert bound is not None
    assert exact is not None
    assert None not in (bound.lost, bound.gained, exact.lost, exact.gained)
    assert bound.loss == pytest.approx(exact.loss)
    assert bound.lost - bound.gained == pytest.approx(exact.lost - exact.gained)  # type: ignore[operator]
    assert bound.lost >= exact.lost - 1e-9  # type: ignore[operator]
    assert bound.lost + bound.gained <= 200 + 1e-9  # type: ignore[operator]


def test_one_stage_result_differs_from_itself_in_no_image() -> None:
    dense = np.arange(100) < 90
    a = row("a", dense, np.arange(100) < 50) | {"stage.finetune": "same"}
    pair = between(a, a | {"key": "b"}, FINAL)
    assert pair == Pair(loss=0.0, lost=0, gained=0, n_images=100)
    assert pair.by_image is not None
    assert pair.by_image.tolist() == [0] * 100
