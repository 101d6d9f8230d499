"""Logging a model that MLflow can serve. Only this module and `serving.py` use MLflow's fluent
interface, because its client has no call for this."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.publishing.card import measured, number
from orchestrator.publishing.model_card import Described, card_text, model_card
from orchestrator.tracking.runlog import TAG_CHARACTERS
from orchestrator.tracking.tracker import Address
from orchestrator.versions import versions
from orchestrator.vocabulary import Metric, Tag

NAMED = "MLFLOW_TRACKING_URI"

CARD = "README.md"
"""In the folder of the model, beside MLflow's own files."""

MEASURED = {
    Metric.MODEL_VAL_ACCURACY: Metric.FINAL_VAL_ACCURACY,
    Metric.MODEL_TEST_ACCURACY: Metric.FINAL_TEST_ACCURACY,
    Metric.MODEL_DEPLOYED_VAL_ACCURACY: Metric.FINAL_DEPLOYED_VAL_ACCURACY,
    Metric.MODEL_DEPLOYED_TEST_ACCURACY: Metric.FINAL_DEPLOYED_TEST_ACCURACY,
    Metric.MODEL_SPARSITY: Metric.FINAL_SPARSITY,
    Metric.MODEL_MACS: Metric.FINAL_MACS_DENSE,
}
"""Metrics of the model, and those of its trial."""

LABELS = "labels"
"""What a request asks for names of classes by; see `serving.py`."""


@dataclass(frozen=True, slots=True)
class ToLog:
    """A model to publish.

    Attributes:
        checkpoint: the file, whose header rebuilds the model.
        example: uint8 images (N, H, W, C).
        step: of its metrics, larger than that of any model before.
    """

    checkpoint: Path
    example: np.ndarray
    about: Described
    step: int


def log_model(where: Address, model: ToLog) -> str:
    """Log an `mlflow.pyfunc` model on a sweep's run, from code and safetensors, without pickle.

    Returns:
        Its id.
    """
    import mlflow
    from mlflow.models import Model

    # MLflow's advice and progress bars are for interactive use.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with (
        tracking_at(where.uri),
        mlflow.start_run(run_id=where.parent),
        _requirements_are_installed(),
        warnings.catch_warnings(action="ignore"),
    ):
        about = model.about
        logged = Model.log(
            None,
            Untried(model_card(about)),
            name="best",
            validate_serving_input=False,
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={"checkpoint": str(model.checkpoint)},
            signature=_signature(model.example.shape[1:]),
            input_example=model.example,
            pip_requirements=_requirements(),
            tags={Tag.NOTE: card_text(about)[:TAG_CHARACTERS]},
            metadata={"lotus": _metadata(about)},
        )
        values = {name: number(about.row, metric) for name, metric in MEASURED.items()}
        mlflow.log_metrics(
            {name: value for name, value in values.items() if value is not None},
            step=model.step,
            synchronous=True,
            run_id=where.parent,
            model_id=logged.model_id,
        )
        return str(logged.model_id)


def _metadata(about: Described) -> dict[str, Any]:
    """What the model's folder says for programs."""
    known = about.data.shown if about.data else None
    return {"trial": about.name, "key": about.key, "data": known, **measured(about.row)}


def _signature(image_shape: tuple[int, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *image_shape))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1))]),
        params=ParamSchema([ParamSpec(LABELS, "boolean", False)]),
    )


def _requirements() -> list[str]:
    """What serving needs, in the installed versions."""
    installed = versions()
    packages = ("torch", "timm", "safetensors", "numpy")
    return ["mlflow", *(f"{package}=={installed[package]}" for package in packages)]


@contextmanager
def _requirements_are_installed() -> Iterator[None]:
    """MLflow compares requirements with what is installed; ours name just that.

    To do so it lists every file of every package, which takes a core a second or more.
    """
    from mlflow.utils import requirements_utils

    before = requirements_utils._MODULES_TO_PACKAGES
    requirements_utils._MODULES_TO_PACKAGES = before or {}
    try:
        yield
    finally:
        requirements_utils._MODULES_TO_PACKAGES = before


class Untried:
    """Stands in for `mlflow.pyfunc` in `Model.log`, which `mlflow.pyfunc.log_model` calls.

    The original also loads the model and tries it on its example. That would import torch and timm
    at the end of every sweep, for a line in a log that nobody sees; tests do it instead.
    """

    __name__ = "mlflow.pyfunc"

    def __init__(self, card: str) -> None:
        self.card = card

    def save_model(self, *, path: str, validate_serving_input: bool, **settings: Any) -> None:
        """Write the model's folder, and its card there."""
        import mlflow

        mlflow.pyfunc.save_model(path=path, **settings)
        (Path(path) / CARD).write_text(self.card, encoding="utf-8")


@contextmanager
def tracking_at(uri: str) -> Iterator[None]:
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
