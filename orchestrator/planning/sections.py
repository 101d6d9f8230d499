"""Sections of a sweep file that say where and how it runs; no result depends on them."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from orchestrator.planning.problems import Problem, SweepError
from orchestrator.secrets import without_password
from trials.stage import StageConfig

SMALLEST = 0.0001
"""Ray counts resources in ten thousandths."""

DEFAULT_TRACKING = "sqlite:///lotus/mlflow.db"

NAME = r"^[A-Za-z0-9][A-Za-z0-9._ +-]{0,119}$"


class ResourcesSection(StageConfig):
    """What one trial occupies."""

    cpu: float = Field(1, gt=0, description="cores of one trial, as Ray counts them")
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        0,
        description="a fraction of one, a whole number, or auto: as many trials on a device as its "
        "memory holds, by a step that is measured once",
    )
    accelerator_type: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="Ray's name of the GPU: A100, H100, L4 ..."
    )
    custom: dict[str, float] = Field({}, description="resources that `ray start` was told of")
    max_concurrent_trials: int | None = Field(
        None, ge=1, description="at most so many trials at once; default: as many as fit"
    )
    share: float = Field(
        1, gt=0, description="weight among sweeps that run on the same cluster at once"
    )

    @field_validator("gpu")
    @classmethod
    def _of_a_device(cls, gpu: float | Literal["auto"]) -> float | Literal["auto"]:
        if gpu == "auto":
            return gpu
        if gpu > 1 and gpu != int(gpu):
            raise ValueError(
                f"a trial gets whole devices above one: write {int(gpu)} or {int(gpu) + 1}"
            )
        if 0 < gpu < SMALLEST:
            raise ValueError(f"Ray does not divide a device further than into {SMALLEST:g}")
        return gpu

    @field_validator("custom")
    @classmethod
    def _own_names(cls, custom: dict[str, float]) -> dict[str, float]:
        for name, amount in custom.items():
            if name.lower() in ("cpu", "gpu", "memory", "object_store_memory"):
                raise ValueError(f"`{name}` is not custom: write resources.cpu or resources.gpu")
            if name.startswith(("node:", "accelerator_type:", "bundle_group")):
                raise ValueError(f"`{name}` is a name of Ray's own")
            if amount < SMALLEST:
                raise ValueError(f"`{name}` must be at least {SMALLEST:g}")
        return custom

    @property
    def gpus(self) -> float:
        """Devices of one trial; with `auto` a whole one, until it is measured."""
        return 1.0 if self.gpu == "auto" else self.gpu

    @model_validator(mode="after")
    def _type_of_something(self) -> "ResourcesSection":
        if self.accelerator_type and not self.gpu:
            raise ValueError("accelerator_type without gpu: a trial would hold no device of it")
        return self


class RetrySection(StageConfig):
    """What happens to trials whose process dies or hangs, or whose memory runs out."""

    max_failures: int = Field(3, ge=0, description="restarts of one trial")
    stage_timeout_s: float | None = Field(
        None, gt=0, description="a stage that takes longer is ended and tried again; default: never"
    )


class RetentionSection(StageConfig):
    """Which checkpoints go to MLflow; the store keeps all."""

    checkpoints: Literal["best", "all", "none"] = Field(
        "best",
        description="best: that of the recommended trial, which is published as a model; all: that "
        "of every trial as well; none: no checkpoint and no model",
    )
    register_as: str | None = Field(
        None,
        pattern=NAME,
        description="also register the recommended model under this name in MLflow's model "
        "registry, a new version whenever another one is recommended; default: not at all",
    )

    @model_validator(mode="after")
    def _has_a_model(self) -> "RetentionSection":
        if self.register_as is not None and self.checkpoints == "none":
            raise ValueError(
                "register_as needs a model, and checkpoints: none publishes none: write "
                "checkpoints: best, or leave register_as out"
            )
        return self


TRACKING_VARIABLE, STORE_VARIABLE = "MLFLOW_TRACKING_URI", "LOTUS_STORE"
"""What names the two places where a sweep file does not; empty counts as unset."""


class TrackingSection(StageConfig):
    """Where MLflow is."""

    uri: str = Field(
        default_factory=lambda: os.environ.get(TRACKING_VARIABLE) or DEFAULT_TRACKING,
        description="sqlite:///path, postgresql://..., http(s)://server; "
        "default: MLFLOW_TRACKING_URI or a file below the working directory",
    )

    @field_validator("uri")
    @classmethod
    def _absolute(cls, uri: str) -> str:
        """Workers run elsewhere: a relative SQLite path means this working directory."""
        written = uri
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", uri)
        if match:
            uri = f"sqlite:///{Path(match[1]).absolute()}"
        named = f"{TRACKING_VARIABLE} = {shown}: " if (shown := _of_environment(written)) else ""
        if uri.startswith("sqlite:///") and (odd := {"?", "%"} & set(uri)):  # SQLAlchemy's own
            raise ValueError(f"{named}the path of a SQLite file cannot hold `{min(odd)}`: move it")
        if not re.match(r"^(sqlite:///|https?://|postgresql|mysql|mssql|databricks)", uri):
            raise ValueError(
                f"{named}must be sqlite:///PATH, http(s)://SERVER or a database address; MLflow's "
                "file store is retired"
            )
        return uri


def _of_environment(uri: str) -> str:
    """An address as it can be shown, if the environment has it so; else nothing."""
    return without_password(uri) if uri == os.environ.get(TRACKING_VARIABLE) else ""


def default_tracking() -> str:
    """Where MLflow is when no sweep file says it.

    Raises:
        SweepError: the environment names what cannot be used.
    """
    try:
        return TrackingSection().uri
    except ValidationError as error:
        problem = Problem((), str(error.errors()[0]["ctx"]["error"]))
        raise SweepError("the environment", [problem]) from None


class StorageSection(StageConfig):
    """Where stage results are kept."""

    path: str = Field(
        default_factory=lambda: os.environ.get(STORE_VARIABLE) or "lotus/store",
        min_length=1,
        description="folder, NFS or s3://bucket/path; default: LOTUS_STORE or a folder below the "
        "working directory",
    )
    node_cache_gib: float = Field(
        10.0,
        ge=0,
        description="of an object store, each node keeps so much on its disk (GiB, in "
        "~/.cache/lotus-sweep) and at most half of what is free there; 0 = nothing",
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        return path if "://" in path else str(Path(path).expanduser().absolute())
