"""The spread between seeds: exact residual variances, borrowing, degrees of freedom."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.selection.seeds import (
    FEWEST_SETTINGS,
    MOST_BORROWED,
    SeedSpread,
    Spread,
    common,
    residual_df,
    residual_variances,
)

Table = dict[str, dict[float, float]]


def table(values: Mapping[str, list[float | None]] | np.ndarray) -> Table:
    """Setting -> seed -> accuracy; None = not run."""
    named = (
        values if isinstance(values, Mapping) else {str(i): list(v) for i, v in enumerate(values)}
    )
    return {
        k: {float(s): v for s, v in enumerate(row) if v is not None} for k, row in named.items()
    }


def moderated(accuracies: Table) -> dict[str, Spread]:
    """Of each setting: half of what it would differ by from another one just like it."""
    spread = SeedSpread(accuracies)
    found = {k: spread.between(k, k) for k in accuracies}
    return {k: Spread(v.variance / 2, v.df / 2) for k, v in found.items() if v is not None}


def test_two_settings_have_the_variance_of_their_difference_and_its_degrees_of_freedom() -> None:
    a, b = [0.90, 0.93, 0.88], [0.85, 0.83, 0.86]
    found = SeedSpread(table({"a": a, "b": b})).between("a", "b")
    assert found is not None
    assert found.variance == pytest.approx(np.var(np.subtract(a, b), ddof=1))
    assert found.df == 2


def test_residual_variances_of_a_complete_table_are_those_by_hand() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0.9, 0.02, (4, 3))
    left = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    found = residual_variances(table(y))
    for own, by_hand in zip(found.values(), (left**2).sum(1) / (2 * 3 / 4), strict=True):
        assert own.variance == pytest.approx(by_hand)
        assert own.df == 2
    # Together they are the residual mean square of a two-way analysis of variance.
    total = sum(v.variance for v in found.values()) * 2 * (3 / 4)
    assert total / residual_df(table(y)) == pytest.approx((left**2).sum() / ((4 - 1) * (3 - 1)))


@given(
    st.lists(st.floats(-0.3, 0.3), min_size=4, max_size=4),
    st.lists(st.floats(-0.3, 0.3), min_size=5, max_size=5),
)
def test_what_a_seed_is_worth_to_all_settings_and_a_setting_to_all_seeds_cancels(
    by_seed: list[float], by_setting: list[float]
) -> None:
    y = np.random.default_rng(1).normal(0.8, 0.02, (5, 4))
    moved = y + np.array(by_seed) + np.array(by_setting)[:, None]
    plain, shifted = (residual_variances(table(one)) for one in (y, moved))
    for a, b in zip(plain.values(), shifted.values(), strict=True):
        assert b.variance == pytest.approx(a.variance, rel=1e-6)
    additive = residual_variances(table(np.zeros((5, 4)) + by_seed + np.array(by_setting)[:, None]))
    assert max(v.variance for v in additive.values()) < 1e-28


def test_a_table_with_holes_forgets_additive_effects_too() -> None:
    worth = np.array([0.01, -0.02, 0.03, 0.0])
    rows: dict[str, list[float | None]] = {
        "a": [0.9 + w for w in worth],
        "b": [0.8 + w if i != 1 else None for i, w in enumerate(worth)],
        "c": [0.7 + w if i > 0 else None for i, w in enumerate(worth)],
        "d": [0.6 + w if i in (0, 3) else None for i, w in enumerate(worth)],
    }
    found = residual_variances(table(rows))
    assert max(v.variance for v in found.values()) < 1e-9
    assert [v.df for v in found.values()] == [3, 2, 2, 1]
    assert residual_df(table(rows)) == (4 + 3 + 3 + 2) - 4 - 4 + 1


def test_residual_variances_are_right_on_average_with_and_without_holes() -> None:
    rng = np.random.default_rng(2)
    sums = {False: np.zeros(6), True: np.zeros(6)}
    for _ in range(400):
        y = rng.normal(0, 0.01, (6, 5)) + rng.normal(0, 0.05, 5)
        for holes in sums:
            rows = {
                str(i): [
                    None if holes and (i + j) % 5 == 0 else float(v) for j, v in enumerate(row)
                ]
                for i, row in enumerate(y)
            }
            sums[holes] += [v.variance for v in residual_variances(table(rows)).values()]
    for total in sums.values():
        np.testing.assert_allclose(total / 400, 1e-4, rtol=0.15)


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.integers(2, 5))
def test_moderation_never_goes_below_a_settings_own_spread(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 1, (k, n)) * np.exp(rng.uniform(-5, -2, (k, 1)))
    accuracies = table(y)
    own = residual_variances(accuracies)
    for name, spread in moderated(accuracies).items():
        assert spread.variance >= own[name].variance * (1 - 1e-12)


def test_settings_that_vary_alike_share_their_spread_and_a_wild_one_keeps_its_own() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(0, 0.01, (20, 3))
    y[-1] *= 10
    own = residual_variances(table(y))
    spreads = moderated(table(y))
    assert spreads["19"].variance == own["19"].variance
    quiet = [spreads[str(i)].variance for i in range(19)]
    lowest = min(own[str(i)].variance for i in range(19))
    assert min(quiet) > 5 * lowest, "the quietest borrows"


@pytest.mark.parametrize("k", [2, 3, 5, 40])
def test_nobody_has_more_degrees_of_freedom_than_there_are_residuals_nor_than_may_be_borrowed(
    k: int,
) -> None:
    y = np.random.default_rng(4).normal(0, 0.01, (k, 3))
    spread = SeedSpread(table(y))
    found = [spread.between("0", str(i)) for i in range(1, k)]
    for one in found:
        assert one is not None
        assert 0 < one.df <= min((k - 1) * 2, 2 * 2 * (1 + MOST_BORROWED))


@pytest.mark.parametrize("n", [3, 5])
def test_the_degrees_of_freedom_of_a_difference_are_those_of_welch_and_satterthwaite(
    n: int,
) -> None:
    """scipy's, of two independent samples with the variances and degrees of the two settings."""
    rng = np.random.default_rng(n)
    y = np.linspace(-0.01, 0.01, n) * np.array([[(-1.0) ** i] for i in range(30)])
    y[1] *= 2.5  # varies more than it borrows
    spreads = moderated(table(y))
    a, b = spreads["0"], spreads["1"]
    assert a.df == b.df == (1 + MOST_BORROWED) * (n - 1)
    assert b.variance > 3 * a.variance
    samples = []
    for one in (a, b):
        sample = rng.normal(0, 1, round(one.df) + 1)
        sample = (sample - sample.mean()) / sample.std(ddof=1)
        samples.append(sample * math.sqrt(one.variance))
    found = SeedSpread(table(y)).between("0", "1")
    assert found is not None
    assert found.df == pytest.approx(stats.ttest_ind(*samples, equal_var=False).df)
    assert found.variance == pytest.approx(sum(np.var(s, ddof=1) for s in samples))


def test_a_common_spread_needs_some_settings_that_have_one() -> None:
    assert common([Spread(1e-4, 2.0)] * (FEWEST_SETTINGS - 1)) is None
    assert common([Spread(0.0, 2.0)] * 6 + [Spread(1e-4, 2.0)]) is None
    alike = common([Spread(1e-4, 2.0)] * 6)
    assert alike is not None
    assert math.isinf(alike.df)


def test_one_seed_has_no_spread_and_equal_accuracies_have_none_to_speak_of() -> None:
    spread = SeedSpread(table({"a": [0.9, 0.8, 0.7], "b": [0.9, None, None]}))
    assert spread.between("a", "b") is None
    same = SeedSpread(table({"a": [0.9] * 3, "b": [0.9] * 3})).between("a", "b")
    assert same is not None
    assert same.variance == 0
    assert residual_variances({}) == {}
