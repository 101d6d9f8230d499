"""Runs as they are read back: MLflow's own objects take ten times as much memory.

A sweep of ten thousand trials has two million params, metrics and tags, most of them equal from
run to run. MLflow makes a new text for each and an object around each metric.
"""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Info:
    """Named as in MLflow, and so are `Data` and `Run`; times in milliseconds."""

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


class Shelf:
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
