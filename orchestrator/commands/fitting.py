"""How much of everything a budget allows: first all that is good to have, then less and less."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trials.arms import CONTROLS, DENSE, LOTUS, MASK_CONTROLS, RANDOM_PATCHES

Arms = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effort:
    """What a drafted sweep spends time on.

    Attributes:
        pixels: a side of the images that the model sees.
        epochs: of the dense model, and of the recovery of each trial.
        seeds: how many; fewer than three say nothing about other seeds.
        levels: sparsities of the one-shot curve.
        drops, fractions: values of patch_drop and mask_data_fraction.
        images: trained on; None = all.
    """

    pixels: int
    epochs: tuple[int, int]
    seeds: int
    levels: tuple[float, ...]
    arms: Arms
    drops: tuple[float, ...]
    fractions: tuple[float, ...]
    images: int | None


EPOCHS_ADAPTED = ((8, 5), (5, 3), (3, 2), (2, 1))
EPOCHS_FROM_SCRATCH = ((60, 10), (40, 6), (30, 5), (20, 3), (10, 2))
SEEDS = (5, 3)
LEVELS = (
    (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    (0.1, 0.2, 0.3, 0.4, 0.5),
)
ARMS: tuple[Arms, ...] = (
    (LOTUS, DENSE, *CONTROLS),
    (LOTUS, DENSE, RANDOM_PATCHES, MASK_CONTROLS[-1]),
    (LOTUS, DENSE, MASK_CONTROLS[-1]),
)
"""The full method, its baseline, and controls: at the least the one that knows most."""
DROPS = ((0.1, 0.3), (0.1,))
FRACTIONS = ((0.1, 1.0), (0.1,))
IMAGES = (20_000, 10_000, 5_000, 2_000, 1_000, 500)

CONCESSIONS = (
    "fractions", "seeds", "drops", "epochs", "images", "pixels", "images", "arms", "pixels",
    "images", "epochs", "pixels", "images", "arms", "levels", "pixels", "images", "epochs",
    "pixels", "images", "pixels", "epochs", "pixels", "pixels", "pixels",
)  # fmt: skip
"""What is given up one step at a time, in this order, until the budget is kept."""

WORTH = ("pixels", "epochs", "images", "arms", "levels", "drops", "fractions", "seeds")
"""What is taken back first where something is left of the budget."""


class TooLittleError(Exception):
    """The budget does not even allow the least.

    Attributes:
        least: what that costs.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"{least}")
        self.least = least


def choices(pixels: Sequence[int], train: int, *, adapted: bool) -> dict[str, Sequence[Any]]:
    """Values of each part of an effort, the best first.

    Args:
        pixels: sizes that the model takes, the best first.
        train: images that there are to train on.
        adapted: whether the model starts from pretrained weights.
    """
    return {
        "pixels": pixels,
        "epochs": EPOCHS_ADAPTED if adapted else EPOCHS_FROM_SCRATCH,
        "seeds": SEEDS,
        "levels": LEVELS,
        "arms": ARMS,
        "drops": DROPS,
        "fractions": FRACTIONS,
        "images": (None, *(count for count in IMAGES if count < train)),
    }


def fit(
    possible: Mapping[str, Sequence[Any]], price: Callable[[Effort], float], budget: float
) -> tuple[Effort, float]:
    """The best effort that the budget allows, and its price.

    Raises:
        TooLittleError: it allows none.
    """
    place = dict.fromkeys(possible, 0)

    def at(**changed: int) -> Effort:
        where = place | changed
        return Effort(**{name: values[where[name]] for name, values in possible.items()})

    asked = price(at())
    for name in CONCESSIONS:
        if asked <= budget:
            break
        if place[name] + 1 < len(possible[name]):
            place[name] += 1
            asked = price(at())
    if asked > budget:
        raise TooLittleError(asked)
    for name in WORTH:
        while place[name]:
            more = price(at(**{name: place[name] - 1}))
            if more > budget:
                break
            place[name] -= 1
            asked = more
    return at(), asked
