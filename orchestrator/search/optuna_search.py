"""Optuna's multi-objective search, in generations.

The settings of a generation come from a study that contains exactly the results of earlier
generations, in order. So neither timing nor the number of devices changes the proposals. The price:
a generation waits for its slowest trial.

The study is created in memory each time and not stored.
"""

import logging
import random
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

from orchestrator.search.proposal import (
    OBJECTIVES,
    Bench,
    Direction,
    Point,
    Proposed,
    ended,
    mean_over_seeds,
    with_seeds,
)
from orchestrator.search.space import Range, Settings, Space

STARTUP = 10
"""Settings drawn at random before the model decides; Optuna's default."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One axis as Optuna sees it; hashable.

    Attributes:
        choices: number of listed values; 0 = a range without steps.
        ordered: whether neighbours in the list are alike.
    """

    name: str
    choices: int = 0
    ordered: bool = True
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False

    def distribution(self) -> Any:
        """The Optuna distribution; lists are given by position, so they can hold any value.

        For ascending numbers the position is an integer, so that a result at 0.3 says something
        about 0.25. Categories would treat neighbouring levels as unrelated.
        """
        from optuna import distributions

        if self.choices and self.ordered:
            return distributions.IntDistribution(0, self.choices - 1)
        if self.choices:
            return distributions.CategoricalDistribution(tuple(range(self.choices)))
        if self.whole:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)


Raw = tuple[tuple[str, float], ...]
"""Parameter -> position or number, as chosen by Optuna."""

Told = tuple[Raw, tuple[float, ...] | None]
"""A setting and its objectives; None = it failed."""


@lru_cache(maxsize=4096)
def ask(
    parameters: tuple[Parameter, ...],
    directions: tuple[Direction, ...],
    told: tuple[Told, ...],
    seed: int,
    count: int,
) -> tuple[Raw, ...]:
    """The next generation: a function of its arguments alone.

    TPE rather than NSGA-II: a sweep has tens of trials, and a genetic search would spend most of
    them on its first population. Multivariate: axes interact (sparsity with patch drop).
    Constant liar: settings of one generation should differ.

    Source: Bergstra et al. 2011; Ozaki et al. 2022 (multi-objective TPE).
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    distributions = {parameter.name: parameter.distribution() for parameter in parameters}
    with warnings.catch_warnings(action="ignore"):  # some arguments are "experimental"
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP
        )
        study = optuna.create_study(directions=list(directions), sampler=sampler)
        for raw, values in told:
            state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.FAIL
            trial_past = optuna.trial.create_trial(
                state=state,
                params=dict(raw),
                distributions=distributions,
                values=list(values) if values else None,
            )
            study.add_trial(trial_past)
        trials = [study.ask(distributions) for _ in range(count)]
    return tuple(tuple(trial.params.items()) for trial in trials)


@dataclass(frozen=True)
class OptunaSearch:
    """`method: optuna` on one block.

    Attributes:
        space: values per axis, without the seed.
        samples: number of settings; one proposed twice counts twice but runs once.
        batch: settings per generation.
    """

    space: Space
    seeds: tuple[int, ...]
    samples: int
    batch: int
    sampling_seed: int
    objectives: tuple[str, ...]

    @cached_property
    def listed(self) -> dict[str, tuple[Any, ...]]:
        """Axis -> its values by position; without ranges that have no steps."""
        by_axis: dict[str, tuple[Any, ...]] = {}
        for axis, values in self.space.items():
            if isinstance(values, Range):
                if values.grid is not None:
                    by_axis[axis] = values.grid
            else:
                by_axis[axis] = tuple(sorted(values)) if _numbers(values) else values
        return by_axis

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The axes with more than one value."""
        chosen_axes = []
        for axis, values in self.space.items():
            if axis in self.listed:
                listed = self.listed[axis]
                if len(listed) > 1:
                    chosen_axes.append(Parameter(axis, len(listed), ordered=_numbers(listed)))
            else:
                range_ = cast(Range, values)
                chosen_axes.append(
                    Parameter(
                        axis,
                        low=range_.low,
                        high=range_.high,
                        log=range_.log,
                        whole=range_.whole,
                    )
                )
        return tuple(chosen_axes)

    def setting(self, raw: Raw) -> Settings:
        """The setting for Optuna's parameters."""
        given = dict(raw)
        values_by_axis: Settings = {}
        for axis, values in self.space.items():
            if axis in self.listed:
                values_by_axis[axis] = self.listed[axis][int(given.get(axis, 0))]
            else:
                values_by_axis[axis] = cast(Range, values).rounded(given[axis])
        return values_by_axis

    def propose(self, bench: Bench) -> Proposed:
        """All generations up to the first one with unfinished trials."""
        told: list[Told] = []
        points: dict[str, Point] = {}
        done = True
        while done and len(told) < self.samples:
            generation = len(told) // self.batch
            seed = random.Random(f"{self.sampling_seed}/{generation}").getrandbits(32)
            directions = tuple(OBJECTIVES[objective][1] for objective in self.objectives)
            asked = ask(self.parameters, directions, tuple(told), seed, self.batch)
            for raw in asked[: self.samples - len(told)]:
                points_of_setting = with_seeds(self.setting(raw), self.seeds)
                points |= {point.ident: point for point in points_of_setting}
                done = done and ended(points_of_setting, bench)
                told.append((raw, self._values(points_of_setting, bench) if done else None))
        left = self.samples - len(told)
        return Proposed(
            tuple(points.values()),
            complete=done and not left,
            expected=len(points) + left * len(self.seeds),
        )

    def _values(self, points: list[Point], bench: Bench) -> tuple[float, ...] | None:
        means = [
            mean_over_seeds(points, OBJECTIVES[objective][0], bench)
            for objective in self.objectives
        ]
        values = tuple(mean for mean in means if mean is not None)
        return values if len(values) == len(self.objectives) else None


def _numbers(values: tuple[Any, ...]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
