"""How much data and how many steps a round of ISSP has."""

import math
from typing import Annotated, Literal

from pydantic import Field

from trials.stage import StageConfig

Steps = Annotated[int, Field(ge=0)] | Literal["pass"]
"""A number of look-ahead steps, or one pass over the ingredient's data."""


class Span(StageConfig):
    """Steps of one schedule that several trainings share, one after the other.

    Attributes:
        first: steps of the schedule that were made before, from 0.
        steps: of this training.
        total: of the whole schedule.
        carry: go on with the optimizer's moments of the training before; False = fresh ones.
    """

    first: int = Field(ge=0)
    steps: int = Field(ge=0)
    total: int = Field(ge=1)
    carry: bool = True


def round_share(fraction: float, number: int) -> float:
    """The fraction of the data that round `number` (from 1) sees when rounds grow: f, 2f, ... 1.

    Source: Instant Soup Pruning, Algorithm 1: round i (from 0) trains t * (i + 1) steps, t being
    a tenth of the data.
    """
    # Rounded, so that round 3 of 0.1 is 0.3 and shares its results with what says 0.3.
    return min(1.0, round(fraction * number, 12))


def share_images(images: int, fraction: float) -> int:
    """How many of `images` a fraction is; as `data.fraction_indices` counts, at least one."""
    return max(1, round(fraction * images))


def pass_steps(images: int, batch_size: int) -> int:
    """Steps of one pass over that many images; the last batch may be smaller."""
    return math.ceil(images / batch_size)


def step_images(steps: int, images: int, batch_size: int) -> int:
    """Images of that many steps: only the last batch of a pass may be smaller."""
    passes, left = divmod(steps, pass_steps(images, batch_size))
    return passes * images + left * batch_size


def look_ahead_steps(steps: Steps, images: int, batch_size: int) -> int:
    """Steps of one ingredient that sees `images` images."""
    return pass_steps(images, batch_size) if steps == "pass" else steps


def left_steps(steps: Steps, ingredients: int, images: int, batch_size: int) -> int:
    """What the ingredients leave of one pass over a round's images, 0 or more.

    Source: Instant Soup Pruning, Algorithm 1: t * (i + 1) - N * C steps train the model itself.
    """
    spent = ingredients * look_ahead_steps(steps, images, batch_size)
    return max(0, pass_steps(images, batch_size) - spent)


def round_steps(
    number: int, fraction: float, growth: Literal["linear", "constant"], per_pass: int
) -> int:
    """Steps that train the weights before the prune of round `number` (from 1), at least one.

    Args:
        fraction: of a pass over the training images; linear growth: times `number`.
        per_pass: steps of a pass.

    Source: Instant Soup Pruning, Algorithm 1: round i (from 0) trains t * (i + 1) steps.
    """
    times = number if growth == "linear" else 1
    return max(1, round(round(fraction * times, 12) * per_pass))
