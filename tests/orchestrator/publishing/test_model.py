"""Publishing a model leaves the process as it was."""

import os

import mlflow
import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.publishing.model import NAMED, tracking_at


@pytest.mark.parametrize("named", [None, "sqlite:////elsewhere/mlflow.db"])
def test_publishing_leaves_no_tracking_address_behind(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type] # other tests may have set one
    monkeypatch.delenv(NAMED, raising=False)
    if named is not None:
        monkeypatch.setenv(NAMED, named)
    default = SweepConfig.model_fields["tracking"].annotation
    assert default is not None
    before = default()
    with tracking_at("sqlite:////here/mlflow.db"):
        assert mlflow.get_tracking_uri() == "sqlite:////here/mlflow.db"
    assert os.environ.get(NAMED) == named
    assert mlflow.is_tracking_uri_set() == (named is not None)
    assert default() == before
    monkeypatch.setenv(NAMED, "sqlite:////later/mlflow.db")
    assert mlflow.get_tracking_uri() == "sqlite:////later/mlflow.db"
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
