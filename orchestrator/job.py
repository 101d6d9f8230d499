"""What is sent to a worker: one job, and what all jobs of a sweep have in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import patience
from orchestrator.planning import PlannedTrial, source_id
from orchestrator.tracking import Address
from trials.config import TrialConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One trial, small enough to send anywhere; its graph is built again where it runs.

    Attributes:
        source: which of the sweep's sources it reads (`plan.source_id`).
    """

    key: str
    name: str
    config: TrialConfig
    axes: Mapping[str, Any]
    source: str

    def text(self) -> str:
        """As JSON: jobs that are only known while a sweep runs travel as text."""
        fields = {name: getattr(self, name) for name in ("key", "name", "source")}
        fields |= {"config": self.config.model_dump(mode="json"), "axes": dict(self.axes)}
        return json.dumps(fields, default=str)

    @classmethod
    def of_text(cls, text: str) -> "Job":
        """The inverse of `text`."""
        fields = json.loads(text)
        return cls(**fields | {"config": TrialConfig.model_validate(fields["config"])})


def job_of(trial: PlannedTrial) -> Job:
    """What is sent for a trial."""
    return Job(
        key=trial.key,
        name=trial.name,
        config=trial.config,
        axes=trial.axes,
        source=source_id(trial.config),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all jobs of a sweep have in common.

    Attributes:
        stage_timeout_s: a stage that takes longer ends its process; None = never.
        patience_s: how long a run that has ended waits for MLflow.
        versions: of the driver, as pairs; a worker with others refuses. Empty = any will do.
        measured_as: the sweep's name in metrics; None = nothing is measured.
    """

    store: str
    address: Address
    cpus: float
    gpu: bool
    checkpoints: str
    stage_timeout_s: float | None = None
    patience_s: float = patience.PATIENCE_S
    versions: tuple[tuple[str, str], ...] = ()
    measured_as: str | None = None
