"""Waiting for a tracking store, by the environment that MLflow reads."""

import os

import pytest

from orchestrator.tracking.patience import own_patience

NAMES = (
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE",
    "PGCONNECT_TIMEOUT",
)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_counts_as_unset_and_one_that_is_set_stays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    own_patience()
    usual = os.environ[name]
    assert usual
    monkeypatch.setenv(name, "")
    own_patience()
    assert os.environ[name] == usual
    monkeypatch.setenv(name, "7")
    own_patience()
    assert os.environ[name] == "7"


def test_mlflow_reads_its_settings_although_they_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")
    with pytest.raises(ValueError, match="int"):
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    own_patience()
    assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 0
