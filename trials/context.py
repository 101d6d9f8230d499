"""How a stage runs, and what training and evaluation tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of a learning curve. Accuracies are fractions; the speed excludes evaluation.

    Attributes:
        numbers: what else a training has to say of itself, by name: parts of its loss, shares.
    """

    train_loss: float
    val_loss: float
    val_accuracy: float
    images_per_s: float
    numbers: dict[str, float] = field(default_factory=dict)


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
    """How a stage runs: nothing in here may change what it computes, beyond rounding.

    Attributes:
        device: where tensors live.
        progress: told now and then; must return at once.
        snapshots: of the stage that runs now; None = do not save.
        micro_batch: the largest number of images in one forward or backward pass; None = the
            batch size of a recipe, and what each other stage takes at once. Less needs less
            memory and gives the same step up to rounding. A model that draws inside its forward
            pass (dropout, drop path) draws for each pass: another, equally valid, sample.

    Raises:
        ValueError: `micro_batch` is below 1.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Callable[[Progress], None] = lambda step: None
    snapshots: Snapshots | None = None
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch = {self.micro_batch}: a pass needs at least one image")

    def at_once(self, wanted: int) -> int:
        """How many images one pass takes: `wanted`, or fewer where memory is short."""
        return wanted if self.micro_batch is None else min(wanted, self.micro_batch)

    def placed(self, tensor: Tensor) -> Tensor:
        """A tensor of the host, on the device. Nobody waits for it: its memory is pinned first."""
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def synchronise(self) -> None:
        """Wait until the device has done what it was given: before a clock is read."""
        if self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize()
