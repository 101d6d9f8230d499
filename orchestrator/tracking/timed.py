"""An MLflow client whose calls are timed."""

import time
from collections.abc import Callable
from typing import Any

from orchestrator import metrics
from orchestrator.tracking.patience import is_away

CALLS = {
    "create_run": "create",
    "create_experiment": "create",
    "search_runs": "search",
    "search_experiments": "search",
    "get_experiment_by_name": "search",
    "get_run": "search",
    "get_metric_history": "search",
    "log_batch": "log_batch",
    "log_artifact": "artifacts",
    "log_artifacts": "artifacts",
    "list_artifacts": "artifacts",
    "download_artifacts": "artifacts",
}
"""Method of the client -> what its call is shown as; every other one is an `update`."""


class TimedClient:
    """Passes every call on to a client and measures it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._methods: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in self._methods:
            found = getattr(self._client, name)
            if name.startswith("_") or not callable(found):
                return found
            self._methods[name] = _timed(found, CALLS.get(name, "update"))
        return self._methods[name]


def _timed(method: Callable[..., Any], call: str) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            found = method(*args, **kwargs)
        except Exception as error:
            reason = "away" if is_away(error) else "refused"
            metrics.count(metrics.MLFLOW_ERRORS, call=call, reason=reason)
            raise
        metrics.observe(metrics.MLFLOW_SECONDS, time.perf_counter() - start, call=call)
        return found

    return timed
