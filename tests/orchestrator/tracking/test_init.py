"""What MLflow is told before anybody imports it."""

import os
import subprocess
import sys

import pytest

ASKS = (
    "import orchestrator.tracking.tracker, mlflow\n"
    "from mlflow.telemetry.client import get_telemetry_client\n"
    "print(get_telemetry_client() is None)"
)


@pytest.mark.parametrize(("setting", "silent"), [(None, "True"), ("false", "False")])
def test_mlflow_reports_to_its_makers_only_where_somebody_wants_it(
    setting: str | None, silent: str
) -> None:
    """In tests it is silent by itself, so they must not be told of."""
    told = ("CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    env = {k: v for k, v in os.environ.items() if k not in told and not k.startswith("PYTEST")}
    if setting is not None:
        env["MLFLOW_DISABLE_TELEMETRY"] = setting
    done = subprocess.run(
        [sys.executable, "-c", ASKS], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [silent]
