"""What is asked of a tracking store: all calls of MLflow's client that lotus-sweep makes.

    adapter.py      MLflow's own client, its objects turned into those of `runs.py`
    forwarding.py   passes every call on; what stands before the adapter changes some of them:
    plain_sql.py    writes our own runs into an SQLite file
    places.py       finds artifacts beside a database that was moved
    connection.py   connects with the first call
    timed.py        measures each call

Methods and arguments are named as in MLflow, but for `place`: the address of a run's artifacts,
where it is known, so that nobody is asked for it. Errors stay MLflow's own; `patience.py` says what
they mean. Another store needs another adapter, and `is_away` its errors.
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
"""Which runs are looked for."""

RUNS_AT_ONCE = 1000
"""On a page, unless somebody asks for fewer; MLflow's own."""


class Page(list[T]):
    """What was found, and what asks for more of it; None = that was all."""

    def __init__(self, found: Iterable[T], token: str | None) -> None:
        super().__init__(found)
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
        """The end of a run; FINISHED, now, unless it is said otherwise."""

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Measurement] = (),
        params: Sequence[Pair] = (),
        tags: Sequence[Pair] = (),
    ) -> None:
        """Metrics, params and tags of a run."""

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""

    def delete_tag(self, run_id: str, key: str) -> None:
        """Remove a tag of a run; one that is not there is an error."""

    def get_metric_history(self, run_id: str, key: str) -> list[Measurement]:
        """All points of a metric of a run."""

    def metric_histories(
        self, run_ids: Sequence[str], key: str, max_results: int
    ) -> list[tuple[str, Measurement]] | None:
        """Run id and point of a metric of many runs; None where only one run can be asked for."""

    def get_experiment(self, experiment_id: str) -> Experiment:
        """One experiment."""

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The same by its name, also when it is deleted."""

    def search_experiments(self, page_token: str | None = None) -> Page[Experiment]:
        """All that are active."""

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """A new one; its id."""

    def list_artifacts(
        self, run_id: str, path: str | None = None, place: str = ""
    ) -> Sequence[File]:
        """What lies in a folder of a run's artifacts."""

    def download_artifacts(
        self, run_id: str, path: str, dst_path: str | None = None, place: str = ""
    ) -> str:
        """A local copy of a file or folder; its path."""

    def stream_artifact(
        self, run_id: str, path: str, dst_path: str, check: Callable[[int], None], place: str = ""
    ) -> str:
        """A local copy of a file; its path.

        Args:
            check: told how many bytes a server has sent so far; may raise to have no more of them.
        """

    def log_artifact(
        self, run_id: str, local_path: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        """Put a file among a run's artifacts."""

    def log_artifacts(
        self, run_id: str, local_dir: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        """Put everything in a folder among a run's artifacts."""

    def delete_artifacts(self, run_id: str, path: str, place: str = "") -> None:
        """Take a file or folder away, where the place lets one."""

    def resolved_address(self, address: str) -> str:
        """Where the artifacts of an address in the store lie."""

    def search_logged_models(
        self, experiment_ids: Sequence[str], filter_string: str | None = None
    ) -> list[LoggedModel]:
        """Models that were logged in experiments."""

    def delete_logged_model(self, model_id: str) -> None:
        """Remove a model."""
