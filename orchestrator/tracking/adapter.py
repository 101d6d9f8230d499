"""MLflow's client behind our port: here its objects become ours."""

import atexit
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.tracking.port import RUNS_AT_ONCE, Client, Page, View
from orchestrator.tracking.requests import histories_of_a_server, streamed
from orchestrator.tracking.runs import (
    Experiment,
    File,
    Interner,
    LoggedModel,
    Measurement,
    Pair,
    Run,
)


class Adapter(Client):
    """See `port.py`; docstrings here only say what differs from MLflow.

    Args:
        mlflow: an `MlflowClient`.
    """

    def __init__(self, mlflow: Any) -> None:
        self.mlflow = mlflow

    def get_run(self, run_id: str) -> Run:
        return Interner().interned(self.mlflow.get_run(run_id))

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
        from mlflow.entities import ViewType

        views = {
            "active": ViewType.ACTIVE_ONLY,
            "deleted": ViewType.DELETED_ONLY,
            "all": ViewType.ALL,
        }
        shared = interner or Interner()
        page = self.mlflow.search_runs(
            list(experiment_ids),
            filter_string,
            views[view],
            max_results,
            list(order_by) or None,
            page_token,
        )
        return Page(map(shared.interned, page), page.token)

    def create_run(
        self,
        experiment_id: str,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        run = self.mlflow.create_run(experiment_id, tags=dict(tags or {}), run_name=run_name)
        return Interner().interned(run)

    def update_run(self, run_id: str, status: str) -> None:
        self.mlflow.update_run(run_id, status=status)

    def delete_run(self, run_id: str) -> None:
        self.mlflow.delete_run(run_id)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        self.mlflow.set_terminated(run_id, status, end_time)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Measurement] = (),
        params: Sequence[Pair] = (),
        tags: Sequence[Pair] = (),
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self.mlflow.log_batch(
            run_id,
            [Metric(m.key, m.value, m.timestamp, m.step) for m in metrics],
            [Param(param.key, param.value) for param in params],
            [RunTag(tag.key, tag.value) for tag in tags],
        )

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.mlflow.set_tag(run_id, key, value)

    def delete_tag(self, run_id: str, key: str) -> None:
        self.mlflow.delete_tag(run_id, key)

    def get_metric_history(self, run_id: str, key: str) -> list[Measurement]:
        points = self.mlflow.get_metric_history(run_id, key)
        return [Measurement(key, point.value, point.timestamp, point.step) for point in points]

    def metric_histories(
        self, run_ids: Sequence[str], key: str, max_results: int
    ) -> list[tuple[str, Measurement]] | None:
        """MLflow's stores and server support this, but its client has no public method for it."""
        store = self.mlflow._tracking_client.store
        if hasattr(store, "get_metric_history_bulk"):
            return [
                (point.run_id, Measurement(key, point.value, point.timestamp, point.step))
                for point in store.get_metric_history_bulk(list(run_ids), key, max_results)
            ]
        if not hasattr(store, "get_host_creds"):
            return None
        return histories_of_a_server(store.get_host_creds(), run_ids, key, max_results)

    def get_experiment(self, experiment_id: str) -> Experiment:
        return _experiment(self.mlflow.get_experiment(experiment_id))

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        experiment = self.mlflow.get_experiment_by_name(name)
        return None if experiment is None else _experiment(experiment)

    def search_experiments(self, page_token: str | None = None) -> Page[Experiment]:
        page = self.mlflow.search_experiments(page_token=page_token)
        return Page(map(_experiment, page), page.token)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self.mlflow.set_experiment_tag(experiment_id, key, value)

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        tag_dict = None if tags is None else dict(tags)
        return str(
            self.mlflow.create_experiment(name, artifact_location=artifact_location, tags=tag_dict)
        )

    def list_artifacts(
        self, run_id: str, path: str | None = None, place: str = ""
    ) -> Sequence[File]:
        files = (
            self._repository(place).list_artifacts(path)
            if place
            else self.mlflow.list_artifacts(run_id, path)
        )
        return [File(file.path, file.is_dir, file.file_size) for file in files]

    def download_artifacts(
        self, run_id: str, path: str, dst_path: str | None = None, place: str = ""
    ) -> str:
        if place:
            return str(self._repository(place).download_artifacts(path, dst_path))
        return str(self.mlflow.download_artifacts(run_id, path, dst_path))

    def stream_artifact(
        self, run_id: str, path: str, dst_path: str, check: Callable[[int], None], place: str = ""
    ) -> str:
        from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

        repository = self._repository(place or self._place(run_id))
        if not isinstance(repository, HttpArtifactRepository):
            return str(repository.download_artifacts(path, dst_path))
        return streamed(repository, path, Path(dst_path) / Path(path).name, check)

    def log_artifact(
        self, run_id: str, local_path: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        if place:
            self._repository(place).log_artifact(local_path, artifact_path)
        else:
            self.mlflow.log_artifact(run_id, local_path, artifact_path)

    def log_artifacts(
        self, run_id: str, local_dir: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        if place:
            self._repository(place).log_artifacts(local_dir, artifact_path)
        else:
            self.mlflow.log_artifacts(run_id, local_dir, artifact_path)

    def delete_artifacts(self, run_id: str, path: str, place: str = "") -> None:
        self._repository(place or self._place(run_id)).delete_artifacts(path)

    def resolved_address(self, address: str) -> str:
        return address

    def search_logged_models(
        self, experiment_ids: Sequence[str], filter_string: str | None = None
    ) -> list[LoggedModel]:
        models = self.mlflow.search_logged_models(list(experiment_ids), filter_string=filter_string)
        return [LoggedModel(model.model_id, model.source_run_id) for model in models]

    def register_model(
        self,
        name: str,
        model_id: str,
        run_id: str,
        tags: Mapping[str, str],
        description: str,
        alias: str,
    ) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self.mlflow.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"models:/{model_id}"
        version = self.mlflow.create_model_version(
            name, source, run_id, dict(tags), description=description, model_id=model_id
        )
        self.mlflow.set_registered_model_alias(name, alias, version.version)
        return str(version.version)

    def registered_models(self, run_id: str) -> set[str]:
        versions = self.mlflow.search_model_versions(f"run_id = '{run_id}'")
        # Stores of MLflow give the id only as part of the address.
        return {version.model_id or version.source.rpartition("/")[2] for version in versions}

    def delete_logged_model(self, model_id: str) -> None:
        self.mlflow.delete_logged_model(model_id)

    def _place(self, run_id: str) -> str:
        return str(self.mlflow.get_run(run_id).info.artifact_uri)

    def _repository(self, place: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(place, tracking_uri=self.mlflow.tracking_uri)


def _experiment(experiment: Any) -> Experiment:
    return Experiment(
        str(experiment.experiment_id),
        str(experiment.name),
        str(experiment.lifecycle_stage),
        dict(experiment.tags),
    )


_ENGINES: weakref.WeakSet[Any] = weakref.WeakSet()
"""SQLAlchemy's engines, one for each client with a database."""


def opened(uri: str) -> Adapter:
    """A client for an address. A database is opened at once, and closed when the process ends.

    Otherwise a process that ends without interpreter shutdown (`entry.py`) would leave SQLite's log
    behind.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    engine = getattr(client._tracking_client.store, "engine", None)
    if engine is not None:
        if not _ENGINES:
            atexit.register(_close_all)
        _ENGINES.add(engine)
    return Adapter(client)


def _close_all() -> None:
    for engine in list(_ENGINES):
        engine.dispose()
