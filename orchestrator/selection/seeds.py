"""How much another seed would have changed an arm: the spread between seeds, borrowed carefully.

Two or three seeds say next to nothing about their own spread. But a sweep has many settings, all
with the same seeds. So accuracies are split into an effect of the setting, an effect of the seed
(a better dense model lifts all settings, and cancels in a difference), and a residual. Its variance
v is estimated per setting, with d = n - 1 degrees of freedom, and shrunk towards the common value
v0, as far as the variances agree on one (moderated t): v' = (d0 v0 + d v) / (d0 + d), with d0 + d
degrees of freedom. v' is never below v, and d0 is at most MOST_BORROWED times d: all residuals
share the estimated seed effects and are not independent. A difference of two settings has variance
v'a + v'b, with Welch's and Satterthwaite's degrees of freedom, capped at those of all residuals.

Measured family-wise coverage, with arms that vary alike or unlike, with one that varies four times
as much, and with a dense arm that varies three times as much:
`tests/benchmarks/comparison_coverage.json`. If such a dense arm is nearly the only source of noise
(`--spread 0.015 0.015`), three seeds of it look quiet too often: 93 % of the families hold instead
of 95 %.

Source: Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004) 3, section 6.2 (limma's fitFDist);
Satterthwaite, Biometrics Bulletin 2 (1946) 110; the caps are ours, by simulation.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FEWEST_SEEDS = 3
"""With fewer seeds there is no interval for other seeds."""

FEWEST_SETTINGS = 3
"""Least number of variances that a common one is estimated from."""

MOST_BORROWED = 3.0
"""Degrees of freedom from other settings, at most this many times a setting's own."""

_ROUNDS = 25

Accuracies = Mapping[Hashable, Mapping[float, float]]
"""Setting -> seed -> accuracy on one split."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A variance between seeds, of an accuracy (a fraction) or a difference of accuracies.

    Attributes:
        df: degrees of freedom.
    """

    variance: float
    df: float


@dataclass(frozen=True, slots=True)
class Prior:
    """The common value of the variances of many settings; `df` is infinite when all agree."""

    variance: float
    df: float


class SeedSpread:
    """The moderated residual variance of every setting of a sweep, for one split."""

    def __init__(self, accuracies: Accuracies) -> None:
        repeated = {k: v for k, v in accuracies.items() if len(v) > 1}
        variances = residual_variances(repeated)
        prior = common([v for v in variances.values() if v.df > 0])
        self._spreads = {key: _moderated(v, prior) for key, v in variances.items()}
        self._most_df = residual_df(repeated)

    def between(self, a: Hashable, b: Hashable) -> Spread | None:
        """The spread of a difference of two settings; None if one has a single seed."""
        if a not in self._spreads or b not in self._spreads:
            return None
        x, y = self._spreads[a], self._spreads[b]
        total = x.variance + y.variance
        if not total > 0:
            return Spread(0.0, min(x.df + y.df, self._most_df))
        df = total**2 / (x.variance**2 / x.df + y.variance**2 / y.df)
        return Spread(total, min(df, self._most_df))


def residual_df(accuracies: Accuracies) -> float:
    """Degrees of freedom of all residuals together: (k - 1) (n - 1) for k settings with n seeds.

    No variance that is estimated from them has more. With two settings the residuals differ only in
    sign, so their difference has n - 1 and not twice as many.
    """
    seeds = {seed for values in accuracies.values() for seed in values}
    measured = sum(map(len, accuracies.values()))
    return max(1.0, measured - len(accuracies) - len(seeds) + 1.0)


def residual_variances(accuracies: Accuracies) -> dict[Hashable, Spread]:
    """The variance of each setting's residuals, without the effects of setting and seed.

    Alternating means find the two effects, so settings may lack seeds. The divisor is
    (n - 1) (k - 1) / k for k settings: exact if all vary alike, a little too small a variance for
    an arm that varies more than the others, a little too large for a quiet one.
    """
    seeds = sorted({seed for values in accuracies.values() for seed in values})
    place = {seed: j for j, seed in enumerate(seeds)}
    y = np.full((len(accuracies), len(seeds)), np.nan)
    for i, values in enumerate(accuracies.values()):
        for seed, accuracy in values.items():
            y[i, place[seed]] = accuracy
    if not y.size:
        return {}
    left = _residuals(y)
    is_measured = ~np.isnan(y)
    # The average number of settings that have a setting's seeds.
    peers = (is_measured @ is_measured.sum(0)) / is_measured.sum(1)
    freedom = is_measured.sum(1) - 1.0
    scale = np.where(peers > 1, (peers - 1) / np.maximum(peers, 1), 1.0)
    variances = np.nansum(left**2, axis=1) / (freedom * scale)
    return {
        key: Spread(float(v), float(df))
        for key, v, df in zip(accuracies, variances, freedom, strict=True)
    }


def _residuals(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, S) accuracies minus the means of rows and columns; NaN where nothing was measured."""
    left: NDArray[np.float64] = y - np.nanmean(y, axis=1, keepdims=True)
    if len(y) < 2:
        return left
    complete = not np.isnan(y).any()
    for _ in range(1 if complete else _ROUNDS):
        left = left - np.nanmean(left, axis=0, keepdims=True)
        left = left - np.nanmean(left, axis=1, keepdims=True)
    return left


def common(variances: list[Spread]) -> Prior | None:
    """The scaled F distribution that the variances follow, estimated from their logarithms.

    None with fewer than FEWEST_SETTINGS variances, or when most of them are 0.
    """
    values = np.array([v.variance for v in variances], dtype=float)
    half = np.array([v.df for v in variances], dtype=float) / 2
    if len(values) < FEWEST_SETTINGS or not np.median(values) > 0:
        return None
    logs = np.log(np.maximum(values, 1e-5 * np.median(values)))
    logs = logs - special.digamma(half) + np.log(half)
    centre = float(logs.mean())
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 1e-6:
        return Prior(math.exp(centre), math.inf)
    from scipy import optimize  # a quarter of a second, and only tables of results need it

    half_df = optimize.brentq(lambda x: float(special.polygamma(1, x)) - excess, 1e-3, 1e7)
    variance = math.exp(centre + float(special.digamma(half_df)) - math.log(half_df))
    return Prior(variance, 2 * half_df)


def _moderated(spread: Spread, prior: Prior | None) -> Spread:
    if prior is None:
        return spread
    borrowed = min(prior.df, MOST_BORROWED * spread.df)
    df = borrowed + spread.df
    weighted = (borrowed * prior.variance + spread.df * spread.variance) / df
    return Spread(max(weighted, spread.variance), df)
