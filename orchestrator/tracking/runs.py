"""The contents of a tracking store as plain values. MLflow's objects stay in `adapter.py`.

They take ten times as much memory: ten thousand trials have two million params, metrics and tags,
most of them equal from run to run, and MLflow makes a new string for each and an object for each
metric.
"""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["trial", "stage"]
"""The kind of a run below the sweep's run."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How a run is found again, and what it is called.

    Attributes:
        key: unique among the runs of a sweep.
        name: shown in MLflow.
        tags: set when the run begins.
    """

    key: str
    kind: Kind
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Info:
    """Names are MLflow's, here and below; times are in milliseconds."""

    run_id: str
    run_name: str
    experiment_id: str
    status: str
    start_time: int
    end_time: int | None
    lifecycle_stage: str
    artifact_uri: str


@dataclass(frozen=True, slots=True)
class Data:
    """Params, tags and the last value of each metric of a run."""

    params: Mapping[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One run at the time it was read."""

    info: Info
    data: Data


class Measurement(NamedTuple):
    """One point of a metric."""

    key: str
    value: float
    timestamp: int
    step: int


class Pair(NamedTuple):
    """A param or a tag."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment."""

    experiment_id: str
    name: str
    lifecycle_stage: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder among a run's artifacts, with its path from their root."""

    path: str
    is_dir: bool
    file_size: int | None


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that was logged on a run."""

    model_id: str
    source_run_id: str | None


class Interner:
    """Converts MLflow's runs to ours, sharing equal strings between them.

    Each run stores only those params that differ from the first run with the same param names.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._first: dict[frozenset[str], dict[str, str]] = {}

    def interned(self, run: Any) -> Run:
        """The same run in less memory."""
        info = run.info
        return Run(
            Info(
                info.run_id,
                info.run_name,
                self._shared(info.experiment_id),
                self._shared(info.status),
                info.start_time,
                info.end_time,
                self._shared(info.lifecycle_stage),
                info.artifact_uri,
            ),
            Data(
                self._params(self._shared_texts(run.data.params)),
                {self._shared(name): value for name, value in run.data.metrics.items()},
                self._shared_texts(run.data.tags),
            ),
        )

    def _params(self, params: dict[str, str]) -> Mapping[str, str]:
        first = self._first.setdefault(frozenset(params), params)
        changed = {name: text for name, text in params.items() if text is not first[name]}
        return ChainMap(changed, first)

    def _shared_texts(self, texts: Mapping[str, str]) -> dict[str, str]:
        return {self._shared(name): self._shared(text) for name, text in texts.items()}

    def _shared(self, text: str) -> str:
        return self._texts.setdefault(text, text)
