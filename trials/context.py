"""How a stage runs, and what training and evaluation tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of a learning curve. Accuracies are fractions; the speed excludes evaluation."""

    train_loss: float
    val_loss: float
    val_accuracy: float
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a model gets right, image by image, in the order of the split."""

    correct: Tensor  # bool (N,)
    loss: float

    @property
    def accuracy(self) -> float:
        """Fraction of images that are right."""
        return float(self.correct.double().mean())


class Snapshots(Protocol):
    """Where an unfinished training keeps its state; losing it means computing again."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and plain values as saved last, or None."""

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace what was saved before."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stage that runs now has come; `epoch` when one has just ended."""

    what: str
    done: int
    total: int
    epoch: Epoch | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """How a stage runs: nothing in here may change what it computes.

    Attributes:
        device: where tensors live.
        progress: told now and then; must return at once.
        snapshots: of the stage that runs now; None = do not save.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Callable[[Progress], None] = lambda step: None
    snapshots: Snapshots | None = None
