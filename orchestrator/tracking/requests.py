"""Requests to an MLflow server that its client has no call for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.tracking.runs import Measurement

HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
"""Endpoint of an MLflow server that its UI uses to compare runs."""


def histories_of_a_server(
    host: Any, run_ids: Sequence[str], key: str, max_results: int
) -> list[tuple[str, Measurement]] | None:
    """Run id and point of a metric of many runs; None if it is not MLflow's own server.

    Args:
        host: of MLflow's client, as are its credentials.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    params = {"run_id": list(run_ids), "metric_key": key, "max_results": max_results}
    answer = http_request(host, HISTORIES, "GET", params=params)
    if answer.status_code in (404, 405):  # not MLflow's own server
        return None
    try:
        rows = verify_rest_response(answer, HISTORIES).json()["metrics"]
        return [
            (
                row["run_id"],
                Measurement(
                    key, float(row["value"]), int(row.get("timestamp", 0)), int(row["step"])
                ),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise MlflowException(f"no answer to {HISTORIES}: {error}") from error


def streamed(repository: Any, path: str, to: Path, check: Callable[[int], None]) -> str:
    """Fetch a file through an MLflow server.

    Args:
        check: called with the number of bytes received so far; may raise to stop.
    """
    from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

    answer = http_request(repository._host_creds, f"/{path}", "GET", stream=True)
    with answer:
        augmented_raise_for_status(answer)
        size = 0
        with to.open("wb") as file:
            for chunk in answer.iter_content(chunk_size=2**20):
                size += len(chunk)
                check(size)
                file.write(chunk)
    return str(to)
