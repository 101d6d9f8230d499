"""Logging a model that MLflow can serve. Only this module and `serving.py` use MLflow's fluent
interface, because its client has no call for this."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.publishing.card import card, measured
from orchestrator.tracking.tracker import Address
from orchestrator.versions import versions
from orchestrator.vocabulary import Tag

NAMED = "MLFLOW_TRACKING_URI"


def log_model(
    where: Address, checkpoint: Path, example: np.ndarray, name: str, row: Mapping[str, Any]
) -> None:
    """Log an `mlflow.pyfunc` model on a sweep's run, from code and safetensors, without pickle.

    Args:
        name: of the trial.
        row: its params and metrics, for the card.
    """
    import mlflow
    from mlflow.models import Model

    # MLflow's advice and progress bars are for interactive use.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with (
        _tracking(where.uri),
        mlflow.start_run(run_id=where.parent),
        warnings.catch_warnings(action="ignore"),
    ):
        Model.log(
            None,
            Untried(),
            name="best",
            validate_serving_input=False,
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={"checkpoint": str(checkpoint)},
            signature=_signature(example.shape[1:]),
            input_example=example,
            pip_requirements=_requirements(),
            tags={Tag.NOTE: card(name, row)},
            metadata={"lotus": {"trial": name, **measured(row)}},
        )


def _signature(image_shape: tuple[int, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *image_shape))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1))]),
    )


def _requirements() -> list[str]:
    """What serving needs, in the installed versions."""
    installed = versions()
    packages = ("torch", "timm", "safetensors", "numpy")
    return ["mlflow", *(f"{package}=={installed[package]}" for package in packages)]


class Untried:
    """Stands in for `mlflow.pyfunc` in `Model.log`, which `mlflow.pyfunc.log_model` calls.

    The original also loads the model and tries it on its example. That would import torch and timm
    at the end of every sweep, for a line in a log that nobody sees; tests do it instead.
    """

    __name__ = "mlflow.pyfunc"

    def save_model(self, *, validate_serving_input: bool, **settings: Any) -> None:
        """Write the model's folder."""
        import mlflow

        mlflow.pyfunc.save_model(**settings)


@contextmanager
def _tracking(uri: str) -> Iterator[None]:
    """Point MLflow's fluent interface at a store, for the one call that its client lacks."""
    import mlflow

    # Setting it also sets MLFLOW_TRACKING_URI, which would redirect sweep files read later.
    named, run_id = os.environ.get(NAMED), os.environ.pop("MLFLOW_RUN_ID", None)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    if before == named:  # it came from the environment, which is restored below
        before = None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # None: as if it had never been set
        os.environ.pop(NAMED, None)
        if named is not None:
            os.environ[NAMED] = named
        if run_id is not None:
            os.environ["MLFLOW_RUN_ID"] = run_id
