"""What is sent to a worker: one job, and what all jobs of a sweep have in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.planning.plan import PlannedTrial, source_id
from orchestrator.tracking import patience
from orchestrator.tracking.tracker import Address
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

    def text(self, base: Mapping[str, Any] | None = None) -> str:
        """As JSON: jobs that are only known while a sweep runs travel as text.

        Args:
            base: settings that whoever reads it has as well; only what differs is written.
        """
        known = base or {}
        config = self.config.model_dump(mode="json")
        fields = {name: getattr(self, name) for name in ("key", "name", "source")}
        fields["config"] = {k: v for k, v in config.items() if k not in known or known[k] != v}
        return json.dumps(fields | {"axes": dict(self.axes)}, default=str)

    @classmethod
    def of_text(cls, text: str, base: Mapping[str, Any] | None = None) -> "Job":
        """The inverse of `text`."""
        fields = json.loads(text)
        config = {**(base or {}), **fields["config"]}
        return cls(**fields | {"config": TrialConfig.model_validate(config)})


def job_of(trial: PlannedTrial) -> Job:
    """What is sent for a trial."""
    return Job(
        key=trial.key,
        name=trial.name,
        config=trial.config,
        axes=trial.axes,
        source=source_id(trial.config),
    )


def owner_of(address: Address, key: str) -> str:
    """Of what is computed for an item of a sweep, as the store notes it."""
    return f"{address.parent}/{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all jobs of a sweep have in common.

    Attributes:
        stage_timeout_s: a stage that takes longer ends its process; None = never.
        patience_s: how long a run that has ended waits for MLflow.
        versions: of the driver, as pairs; a worker with others refuses. Empty = any will do.
        nearby_bytes: that a node may keep on its disk of a store elsewhere.
        measured_as: the sweep's name in metrics; None = nothing is measured.
        base: settings that most jobs have in common, as JSON: ten thousand times the same text
            would fill the driver's memory.
    """

    store: str
    address: Address
    cpus: float
    gpu: bool
    checkpoints: str
    stage_timeout_s: float | None = None
    patience_s: float = patience.PATIENCE_S
    versions: tuple[tuple[str, str], ...] = ()
    nearby_bytes: int = 0
    measured_as: str | None = None
    base: str = "{}"

    @property
    def common(self) -> dict[str, Any]:
        """`base`, for `Job.text` and its inverse."""
        found: dict[str, Any] = json.loads(self.base)
        return found
