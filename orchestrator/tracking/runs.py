"""What a tracking store holds, as plain values. MLflow's own objects stay in `adapter.py`.

They take ten times as much memory: a sweep of ten thousand trials has two million params, metrics
and tags, most of them equal from run to run, and MLflow makes a new text for each and an object
around each metric.
"""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["trial", "stage"]
"""Of a run below a sweep's own."""


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a run is found again and called.

    Attributes:
        key: exactly one run of a sweep has it.
        name: shown in MLflow.
        tags: said when the run begins.
    """

    key: str
    kind: Kind
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Info:
    """Named as in MLflow, and so is all that follows; times in milliseconds."""

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
    """What a run holds; of each metric the last value."""

    params: Mapping[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as it was when it was read."""

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


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder among a run's artifacts; its path is counted from their root."""

    path: str
    is_dir: bool
    file_size: int | None


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that was logged on a run."""

    model_id: str
    source_run_id: str | None


class Interner:
    """Makes runs of MLflow's; equal texts of all of them are one object.

    Of params each run keeps what differs from the first one that has the same names.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._first: dict[frozenset[str], dict[str, str]] = {}

    def kept(self, run: Any) -> Run:
        """The same run, small."""
        info = run.info
        return Run(
            Info(
                info.run_id,
                info.run_name,
                self._one(info.experiment_id),
                self._one(info.status),
                info.start_time,
                info.end_time,
                self._one(info.lifecycle_stage),
                info.artifact_uri,
            ),
            Data(
                self._params(self._ones(run.data.params)),
                {self._one(name): value for name, value in run.data.metrics.items()},
                self._ones(run.data.tags),
            ),
        )

    def _params(self, params: dict[str, str]) -> Mapping[str, str]:
        first = self._first.setdefault(frozenset(params), params)
        own = {name: text for name, text in params.items() if text is not first[name]}
        return ChainMap(own, first)

    def _ones(self, texts: Mapping[str, str]) -> dict[str, str]:
        return {self._one(name): self._one(text) for name, text in texts.items()}

    def _one(self, text: str) -> str:
        return self._texts.setdefault(text, text)
