"""The values of axes: lists and ranges, all combinations of them, or random ones."""

import itertools
import math
import random
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from trials.stage import StageConfig

DIGITS = 6
"""Significant digits of a drawn number: few enough that its text and key never change."""

MAX_STEPS = 100_000


class Range(StageConfig):
    """An axis by its ends. If ends (and step) are whole numbers, so are the values between."""

    low: int | float = Field(description="smallest value")
    high: int | float = Field(description="largest value")
    step: int | float | None = Field(None, gt=0, description="distance of neighbours; null: any")
    log: bool = Field(False, description="uniform in the logarithm")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not all(math.isfinite(v) for v in (self.low, self.high, self.step or 1)):
            raise ValueError("low, high and step must be finite numbers")
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together: remove one of the two")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g} must be above 0 for log: true")
        if self.step is not None and (self.high - self.low) / self.step > MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS:,} steps: leave step out")
        return self

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step or 1))

    @cached_property
    def grid(self) -> tuple[int | float, ...] | None:
        """Every value of a stepped range, ascending; None without a step."""
        if self.step is None:
            return None
        # Some slack for rounding: 0.1 to 0.6 by 0.05 must include 0.6.
        count = math.floor((self.high - self.low) / self.step * (1 + 1e-12) + 1e-9)
        return tuple(self.rounded(self.low + i * self.step) for i in range(count + 1))

    def rounded(self, value: float) -> int | float:
        """A value rounded to DIGITS significant digits, inside the range."""
        if self.whole:
            return min(max(round(value), int(self.low)), int(self.high))
        return min(max(float(f"{value:.{DIGITS}g}"), float(self.low)), float(self.high))

    def draw(self, source: random.Random) -> int | float:
        """Draw a value, uniformly in the range or in its logarithm."""
        if self.grid is not None:
            return source.choice(self.grid)
        if self.log:
            value = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
            return self.rounded(value)
        if self.whole:
            return source.randint(int(self.low), int(self.high))
        return self.rounded(source.uniform(self.low, self.high))

    def __str__(self) -> str:
        extra = " log" if self.log else "" if self.step is None else f" step {self.step:g}"
        return f"{self.low:g}..{self.high:g}{extra}"


Values = tuple[Any, ...] | Range
Space = Mapping[str, Values]
Settings = dict[str, Any]
"""One value per axis."""


def combinations(space: Space) -> list[Settings]:
    """Every combination of listed values, the last axis fastest.

    Raises:
        ValueError: an axis is a range.
    """
    for axis, values in space.items():
        if isinstance(values, Range):
            raise ValueError(f"{axis} is a range: only drawn values can come from it")
    products = itertools.product(*(v for v in space.values() if not isinstance(v, Range)))
    return [dict(zip(space, point, strict=True)) for point in products]


def drawn(space: Space, samples: int, seed: int) -> list[Settings]:
    """Random settings; a larger sample starts with every smaller one.

    From lists only: no repetitions, at most all combinations. With a range, settings are drawn
    independently, so two may be equal.
    """
    source = random.Random(seed)
    if not any(isinstance(values, Range) for values in space.values()):
        everything = combinations(space)
        # Shuffle the whole list, so that a larger sample starts with every smaller one.
        return source.sample(everything, len(everything))[:samples]
    return [
        {
            axis: values.draw(source) if isinstance(values, Range) else source.choice(values)
            for axis, values in space.items()
        }
        for _ in range(samples)
    ]
