"""Optuna's multi-objective search, in generations.

All settings of a generation are asked from a study that holds exactly the results of the
generations before, told in the order of their numbers. So neither timing nor the number of
devices changes what is proposed. The price: a generation waits for its slowest trial.

The study lives in memory and is made anew each time; nothing of it is kept.
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
"""Settings drawn at random before the model of the results decides; Optuna's own default."""


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
        """Lists by position, so that any value can stand in them.

        A position in a rising list of numbers is a whole number: what was learned at 0.3 says
        something about 0.25. Categories would make every level a stranger to its neighbour.
        """
        from optuna import distributions as made

        if self.choices and self.ordered:
            return made.IntDistribution(0, self.choices - 1)
        if self.choices:
            return made.CategoricalDistribution(tuple(range(self.choices)))
        if self.whole:
            return made.IntDistribution(int(self.low), int(self.high), log=self.log)
        return made.FloatDistribution(self.low, self.high, log=self.log)


Raw = tuple[tuple[str, float], ...]
"""Parameter -> position or number, as Optuna gave it."""

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

    TPE rather than NSGA-II: a sweep has tens of trials, of which a genetic search would spend
    most on its first population. Multivariate: axes interact (sparsity with patch drop).
    Constant liar: settings that are asked together keep apart.

    Source: Bergstra et al. 2011; Ozaki et al. 2022 (multi-objective TPE).
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    wanted = {parameter.name: parameter.distribution() for parameter in parameters}
    with warnings.catch_warnings(action="ignore"):  # parts of it are called experimental
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP
        )
        study = optuna.create_study(directions=list(directions), sampler=sampler)
        for raw, values in told:
            state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.FAIL
            past = optuna.trial.create_trial(
                state=state,
                params=dict(raw),
                distributions=wanted,
                values=list(values) if values else None,
            )
            study.add_trial(past)
        asked = [study.ask(wanted) for _ in range(count)]
    return tuple(tuple(trial.params.items()) for trial in asked)


@dataclass(frozen=True)
class OptunaSearch:
    """`method: optuna` on one block.

    Attributes:
        space: values per axis, seed left out.
        samples: settings; one proposed twice counts twice and runs once.
        batch: settings of a generation.
    """

    space: Space
    seeds: tuple[int, ...]
    samples: int
    batch: int
    sampling_seed: int
    objectives: tuple[str, ...]

    @cached_property
    def listed(self) -> dict[str, tuple[Any, ...]]:
        """Axis -> its values in the order of their positions; a range without steps has none."""
        found: dict[str, tuple[Any, ...]] = {}
        for name, values in self.space.items():
            if isinstance(values, Range):
                if values.grid is not None:
                    found[name] = values.grid
            else:
                found[name] = tuple(sorted(values)) if _numbers(values) else values
        return found

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The axes that have a choice."""
        found = []
        for name, values in self.space.items():
            if name in self.listed:
                listed = self.listed[name]
                if len(listed) > 1:
                    found.append(Parameter(name, len(listed), ordered=_numbers(listed)))
            else:
                axis = cast(Range, values)
                found.append(
                    Parameter(
                        name,
                        low=axis.low,
                        high=axis.high,
                        log=axis.log,
                        whole=axis.whole,
                    )
                )
        return tuple(found)

    def setting(self, raw: Raw) -> Settings:
        """The values that Optuna's parameters stand for."""
        given = dict(raw)
        found: Settings = {}
        for name, values in self.space.items():
            if name in self.listed:
                found[name] = self.listed[name][int(given.get(name, 0))]
            else:
                found[name] = cast(Range, values).rounded(given[name])
        return found

    def propose(self, bench: Bench) -> Proposed:
        """All generations up to the first whose trials have not ended."""
        told: list[Told] = []
        points: dict[str, Point] = {}
        done = True
        while done and len(told) < self.samples:
            generation = len(told) // self.batch
            seed = random.Random(f"{self.sampling_seed}/{generation}").getrandbits(32)
            directions = tuple(OBJECTIVES[name][1] for name in self.objectives)
            asked = ask(self.parameters, directions, tuple(told), seed, self.batch)
            for raw in asked[: self.samples - len(told)]:
                own = with_seeds(self.setting(raw), self.seeds)
                points |= {point.ident: point for point in own}
                done = done and ended(own, bench)
                told.append((raw, self._values(own, bench) if done else None))
        left = self.samples - len(told)
        return Proposed(
            tuple(points.values()),
            complete=done and not left,
            expected=len(points) + left * len(self.seeds),
        )

    def _values(self, own: list[Point], bench: Bench) -> tuple[float, ...] | None:
        means = [mean_over_seeds(own, OBJECTIVES[name][0], bench) for name in self.objectives]
        values = tuple(mean for mean in means if mean is not None)
        return values if len(values) == len(self.objectives) else None


def _numbers(values: tuple[Any, ...]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
