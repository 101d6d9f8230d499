"""What a sweep file may say, and the trials that it means."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from orchestrator.planning.problems import Problem, SweepError
from orchestrator.search.block import AXES, SearchBlock
from orchestrator.search.space import Range
from orchestrator.secrets import without_password
from trials.config import (
    EssentialSection,
    FinetuneSection,
    IsspSection,
    TicketSection,
    TrialConfig,
)
from trials.data.config import DataConfig
from trials.model.vit import ModelConfig
from trials.reduction.config import ReductionConfig
from trials.stage import StageConfig
from trials.stages.dense import DenseConfig

__all__ = [
    "AXES",
    "Points",
    "SearchBlock",
    "SweepConfig",
    "at_point",
    "flat",
    "hashable",
    "nested",
    "with_axis",
]

SECTIONS = ("data", "model", "dense", "tickets", "essential", "issp", "finetune", "reduction")

WITH_PRESETS = tuple(
    name for name in SECTIONS if hasattr(TrialConfig.model_fields[name].default, "preset")
)
"""Sections that a preset may fill."""

SMALLEST = 0.0001
"""Ray counts resources in ten thousandths."""

DEFAULT_TRACKING = "sqlite:///lotus/mlflow.db"

NAME = r"^[A-Za-z0-9][A-Za-z0-9._ +-]{0,119}$"


def _schema_of_search(schema: dict[str, Any]) -> None:
    """A single block may stand without a list."""
    blocks = {name: schema.pop(name) for name in ("items", "minItems", "type")}
    schema["anyOf"] = [blocks["items"], blocks]


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


@dataclass(frozen=True, slots=True)
class Source:
    """How a sweep was asked for, so that it can be asked for again.

    Attributes:
        path: of the file as it was given, or a bundled sweep's name; None = of no file.
        overrides: as they were given.
        tracking: where it is tracked unless the environment says otherwise.
    """

    path: str | None = None
    overrides: tuple[str, ...] = ()
    tracking: str | None = None

    def __eq__(self, other: object) -> bool:
        """It says nothing of what a sweep is: equal files are equal sweeps."""
        return isinstance(other, Source)

    def __hash__(self) -> int:
        return hash(Source)


class SweepConfig(StageConfig):
    """A sweep file."""

    _source: Source = PrivateAttr(default_factory=Source)

    name: str = Field(pattern=NAME, description="the sweep is found again by it")
    experiment: str | None = Field(
        None, pattern=NAME, description="MLflow experiment; default: name"
    )
    data: DataConfig
    model: ModelConfig
    dense: DenseConfig = DenseConfig()
    tickets: TicketSection = TicketSection()
    essential: EssentialSection = EssentialSection()
    issp: IsspSection = IsspSection()
    finetune: FinetuneSection = FinetuneSection()
    reduction: ReductionConfig = ReductionConfig()
    search: tuple[SearchBlock, ...] = Field(
        (SearchBlock(),), min_length=1, json_schema_extra=_schema_of_search
    )
    resources: ResourcesSection = ResourcesSection()
    retry: RetrySection = RetrySection()
    retention: RetentionSection = RetentionSection()
    # Of nothing, and not made here: what is wrong in them is a problem beside those of the file.
    tracking: TrackingSection = Field({}, validate_default=True)
    storage: StorageSection = Field({}, validate_default=True)

    @field_validator("search", mode="before")
    @classmethod
    def _blocks(cls, raw: Any) -> Any:
        return [raw] if isinstance(raw, dict) else raw

    @property
    def source(self) -> Source:
        """How it was asked for."""
        return self._source

    def asked_for(self, source: Source) -> None:
        """Note how, once it is loaded."""
        self._source = source

    @property
    def experiment_name(self) -> str:
        """The MLflow experiment."""
        return self.experiment or self.name

    @cached_property
    def axes(self) -> dict[str, list[Any]]:
        """Axis name -> all values over the blocks, in order of appearance."""
        found: dict[str, list[Any]] = {}
        for block in self.search:
            for name, values in block.space().items():
                listed = [str(values)] if isinstance(values, Range) else values
                found.setdefault(name, []).extend(listed)
        return {name: list(dict.fromkeys(hashable(values))) for name, values in found.items()}

    def base(self) -> TrialConfig:
        """The settings that all trials share, at the default point of the short axes."""
        return TrialConfig.model_validate({name: getattr(self, name) for name in SECTIONS})

    def trials(self) -> Iterator[tuple[TrialConfig, dict[str, Any]]]:
        """Every trial that is known without results, with its point on the axes.

        Equal trials are not merged yet.
        """
        points = Points(self.base())
        for block in self.search:
            if block.method in ("grid", "random"):
                for point in block.points():
                    yield points.trial(point), point

    @property
    def dynamic(self) -> bool:
        """Whether some trials only follow from the results of others."""
        return any(block.method in ("optuna", "halving") for block in self.search)


def at_point(base: TrialConfig, point: Mapping[str, Any]) -> TrialConfig:
    """The trial at one point of the axes, presets filled in.

    Raises:
        ValidationError: a further axis does not allow its value.
    """
    return Points(base).trial(point)


class Points:
    """The trials at many points of the axes: sections that they have in common are one object."""

    def __init__(self, base: TrialConfig) -> None:
        self._base = base
        self._sections: dict[str, StageConfig] = {}

    def trial(self, point: Mapping[str, Any]) -> TrialConfig:
        """The trial at one point, presets filled in.

        Raises:
            ValidationError: a further axis does not allow its value.
        """
        further: dict[str, list[tuple[str, Any]]] = {name: [] for name in WITH_PRESETS}
        for name, value in point.items():
            if name not in AXES:
                further.setdefault(name.partition(".")[0], []).append((name, value))
        changes = {name: point[name] for name in AXES}
        sections = {name: self._section(name, changed) for name, changed in further.items()}
        return self._base.model_copy(update=changes | sections)

    def _section(self, name: str, changes: Sequence[tuple[str, Any]]) -> StageConfig:
        known = repr((name, changes))
        if known not in self._sections:
            trial = self._base
            for axis, value in changes:
                trial = with_axis(trial, axis, value)
            self._sections[known] = getattr(trial.resolved(), name)
        return self._sections[known]


def hashable(values: list[Any]) -> list[Any]:
    """Values that can be compared and looked up, whatever YAML made of them."""
    plain = (str, int, float, bool, type(None))
    return [v if isinstance(v, plain) else json.dumps(v, default=str) for v in values]


def with_axis(trial: TrialConfig, name: str, value: Any) -> TrialConfig:
    """The trial with one dotted setting changed and checked.

    Raises:
        ValidationError: the setting does not allow the value.
    """
    section, _, rest = name.partition(".")
    current = getattr(trial, section)
    # What nobody wrote stays unwritten, so that a preset may still fill it.
    written = current.model_dump(exclude_unset=True)
    changed = type(current).model_validate(nested(written, rest.split("."), value))
    return trial.model_copy(update={section: changed})


def nested(raw: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of a nested mapping with the value at one path changed."""
    head, *rest = path
    inner = raw.get(head)
    new = nested(inner if isinstance(inner, dict) else {}, rest, value) if rest else value
    return raw | {head: new}


def flat(config: BaseModel | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names; lists and empty mappings stay values."""
    raw = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    found: dict[str, Any] = {}
    for name, value in raw.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
