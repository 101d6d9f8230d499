"""MLflow: the runs of a sweep, written exactly once and read back."""

import os

# Before anybody imports MLflow, which otherwise tells its makers what it is used for.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
