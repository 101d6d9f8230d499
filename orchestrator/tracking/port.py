"""The interface to a tracking store: all calls of MLflow's client that lotus-sweep makes.

    adapter.py      MLflow's client, its objects turned into those of `runs.py`
    forwarding.py   passes every call on; these change some of them on the way to the adapter:
    plain_sql.py    writes our own runs to an SQLite file
    places.py       finds artifacts beside a database that was moved
    connection.py   connects with the first call
    timed.py        times each call

Methods and arguments are named as in MLflow, except `place`: the address of a run's artifacts, if
it is known, which saves a request. Errors are MLflow's; `patience.py` interprets them. Another
store needs another adapter, and its errors in `is_away`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from orchestrator.tracking.runs import (
    Experiment,
    File,
    Interner,
    LoggedModel,
    Measurement,
    Pair,
    Run,
)

T = TypeVar("T")

View = Literal["active", "deleted", "all"]
"""Which runs to search."""

RUNS_AT_ONCE = 1000
"""Runs on a page by default, as in MLflow."""


class Page(list[T]):
    """A page of results, with the token of the next page; None = it is the last."""

    def __init__(self, items: Iterable[T], token: str | None) -> None:
        super().__init__(items)
        self.token = token


class Client(Protocol):
    """A tracking store."""

    def get_run(self, run_id: str) -> Run:
        """One run."""

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        view: View = "active",
        max_results: int = RUNS_AT_ONCE,
        order_by: Sequence[str] = (),
        page_token: str | None = None,
        interner: Interner | None = None,
    ) -> Page[Run]:
        """Runs of experiments. With an interner, pages share their texts."""

    def create_run(
        self,
        experiment_id: str,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """A new run, RUNNING from now on."""

    def update_run(self, run_id: str, status: str) -> None:
        """Give a run another status."""

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted."""

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        """End a run; by default as FINISHED, now."""

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Measurement] = (),
        params: Sequence[Pair] = (),
        tags: Sequence[Pair] = (),
    ) -> None:
        """Log metrics, params and tags of a run."""

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""

    def delete_tag(self, run_id: str, key: str) -> None:
        """Remove a tag of a run; a missing tag is an error."""

    def get_metric_history(self, run_id: str, key: str) -> list[Measurement]:
        """All points of a metric of a run."""

    def metric_histories(
        self, run_ids: Sequence[str], key: str, max_results: int
    ) -> list[tuple[str, Measurement]] | None:
        """Run id and point of a metric of many runs; None if the store cannot do that."""

    def get_experiment(self, experiment_id: str) -> Experiment:
        """One experiment."""

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """One experiment by its name, even if it is deleted."""

    def search_experiments(self, page_token: str | None = None) -> Page[Experiment]:
        """All active experiments."""

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment."""

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Create an experiment and return its id."""

    def list_artifacts(
        self, run_id: str, path: str | None = None, place: str = ""
    ) -> Sequence[File]:
        """The contents of a folder among a run's artifacts."""

    def download_artifacts(
        self, run_id: str, path: str, dst_path: str | None = None, place: str = ""
    ) -> str:
        """Make a local copy of a file or folder and return its path."""

    def stream_artifact(
        self, run_id: str, path: str, dst_path: str, check: Callable[[int], None], place: str = ""
    ) -> str:
        """Make a local copy of a file and return its path.

        Args:
            check: called with the number of bytes received so far; may raise to stop.
        """

    def log_artifact(
        self, run_id: str, local_path: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        """Add a file to a run's artifacts."""

    def log_artifacts(
        self, run_id: str, local_dir: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        """Add the contents of a folder to a run's artifacts."""

    def delete_artifacts(self, run_id: str, path: str, place: str = "") -> None:
        """Delete a file or folder, if the storage allows it."""

    def resolved_address(self, address: str) -> str:
        """Where the artifacts at an address of the store really are."""

    def search_logged_models(
        self, experiment_ids: Sequence[str], filter_string: str | None = None
    ) -> list[LoggedModel]:
        """Models logged in experiments."""

    def register_model(
        self,
        name: str,
        model_id: str,
        run_id: str,
        tags: Mapping[str, str],
        description: str,
        alias: str,
    ) -> str:
        """Make a logged model a new version of a registered one, and give it an alias.

        Returns:
            The number of the version.
        """

    def registered_models(self, run_id: str) -> set[str]:
        """Ids of the models of a run that are versions in the registry."""

    def delete_logged_model(self, model_id: str) -> None:
        """Remove a model."""
