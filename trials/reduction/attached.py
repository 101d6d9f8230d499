"""How a model that reduces its tokens says so, as plain values beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trials.reduction.config import READS, TRAINING, ReductionConfig


@dataclass(frozen=True, slots=True)
class Attached:
    """The reduction of a model.

    Attributes:
        settings: of `ReductionConfig`, those that a finished model still reads.
        seed: of what it draws when it looks at images, and of new predictors.
    """

    settings: dict[str, Any]
    seed: int

    @classmethod
    def of(cls, config: ReductionConfig, seed: int) -> Attached:
        """From settings."""
        plain = config.model_dump(mode="json")
        names = [name for name in READS[config.method] if name not in TRAINING]
        return cls({"method": config.method} | {name: plain[name] for name in names}, seed)

    @property
    def config(self) -> ReductionConfig:
        """The settings."""
        return ReductionConfig.model_validate(self.settings)
