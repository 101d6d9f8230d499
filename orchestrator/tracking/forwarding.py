"""A client that passes every call on: the base of clients that change some calls."""

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from orchestrator.tracking.port import RUNS_AT_ONCE, Client, Page, View
from orchestrator.tracking.runs import (
    Experiment,
    File,
    Interner,
    LoggedModel,
    Measurement,
    Pair,
    Run,
)

P = ParamSpec("P")
T = TypeVar("T")


class Forwarding(Client):
    """See `port.py`. Every call is written out once, so that types are checked.

    Args:
        client: receives all calls that a subclass does not change.
    """

    def __init__(self, client: Client) -> None:
        self._next = client

    @property
    def _client(self) -> Client:
        return self._next

    def _passed(self, kind: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that asks the store.

        Args:
            kind: the label under which it is counted; see `metrics.MLFLOW_SECONDS`.
        """
        return call(*args, **kwargs)

    def get_run(self, run_id: str) -> Run:
        return self._passed("search", self._client.get_run, run_id)

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
        return self._passed(
            "search",
            self._client.search_runs,
            experiment_ids,
            filter_string,
            view,
            max_results,
            order_by,
            page_token,
            interner,
        )

    def create_run(
        self,
        experiment_id: str,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        return self._passed("create", self._client.create_run, experiment_id, tags, run_name)

    def update_run(self, run_id: str, status: str) -> None:
        self._passed("update", self._client.update_run, run_id, status)

    def delete_run(self, run_id: str) -> None:
        self._passed("update", self._client.delete_run, run_id)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        self._passed("update", self._client.set_terminated, run_id, status, end_time)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Measurement] = (),
        params: Sequence[Pair] = (),
        tags: Sequence[Pair] = (),
    ) -> None:
        self._passed("log_batch", self._client.log_batch, run_id, metrics, params, tags)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._passed("update", self._client.set_tag, run_id, key, value)

    def delete_tag(self, run_id: str, key: str) -> None:
        self._passed("update", self._client.delete_tag, run_id, key)

    def get_metric_history(self, run_id: str, key: str) -> list[Measurement]:
        return self._passed("search", self._client.get_metric_history, run_id, key)

    def metric_histories(
        self, run_ids: Sequence[str], key: str, max_results: int
    ) -> list[tuple[str, Measurement]] | None:
        return self._passed("search", self._client.metric_histories, run_ids, key, max_results)

    def get_experiment(self, experiment_id: str) -> Experiment:
        return self._passed("search", self._client.get_experiment, experiment_id)

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        return self._passed("search", self._client.get_experiment_by_name, name)

    def search_experiments(self, page_token: str | None = None) -> Page[Experiment]:
        return self._passed("search", self._client.search_experiments, page_token)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self._passed("update", self._client.set_experiment_tag, experiment_id, key, value)

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        return self._passed("create", self._client.create_experiment, name, artifact_location, tags)

    def list_artifacts(
        self, run_id: str, path: str | None = None, place: str = ""
    ) -> Sequence[File]:
        return self._passed("artifacts", self._client.list_artifacts, run_id, path, place)

    def download_artifacts(
        self, run_id: str, path: str, dst_path: str | None = None, place: str = ""
    ) -> str:
        return self._passed(
            "artifacts", self._client.download_artifacts, run_id, path, dst_path, place
        )

    def stream_artifact(
        self, run_id: str, path: str, dst_path: str, check: Callable[[int], None], place: str = ""
    ) -> str:
        stream = self._client.stream_artifact
        return self._passed("artifacts", stream, run_id, path, dst_path, check, place)

    def log_artifact(
        self, run_id: str, local_path: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        self._passed(
            "artifacts", self._client.log_artifact, run_id, local_path, artifact_path, place
        )

    def log_artifacts(
        self, run_id: str, local_dir: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        self._passed(
            "artifacts", self._client.log_artifacts, run_id, local_dir, artifact_path, place
        )

    def delete_artifacts(self, run_id: str, path: str, place: str = "") -> None:
        self._passed("artifacts", self._client.delete_artifacts, run_id, path, place)

    def resolved_address(self, address: str) -> str:
        return self._client.resolved_address(address)

    def search_logged_models(
        self, experiment_ids: Sequence[str], filter_string: str | None = None
    ) -> list[LoggedModel]:
        return self._passed(
            "search", self._client.search_logged_models, experiment_ids, filter_string
        )

    def register_model(
        self,
        name: str,
        model_id: str,
        run_id: str,
        tags: Mapping[str, str],
        description: str,
        alias: str,
    ) -> str:
        call = self._client.register_model
        return self._passed("create", call, name, model_id, run_id, tags, description, alias)

    def registered_models(self, run_id: str) -> set[str]:
        return self._passed("search", self._client.registered_models, run_id)

    def delete_logged_model(self, model_id: str) -> None:
        self._passed("update", self._client.delete_logged_model, model_id)
