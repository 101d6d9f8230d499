"""What a sweep file may say, and the trials that it means."""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trials.config import (
    Arm,
    EssentialSection,
    FinetuneSection,
    IsspSection,
    Level,
    TicketSection,
    TrialConfig,
)
from trials.data import DataConfig
from trials.stage import StageConfig
from trials.stages.dense import DenseConfig
from trials.vit import ModelConfig

AXES = ("sparsity", "patch_drop", "mask_data_fraction", "arm", "seed")
"""The axes with short names; any dotted configuration key is one too."""

SECTIONS = ("data", "model", "dense", "tickets", "essential", "issp", "finetune")

NAME = r"^[A-Za-z0-9][A-Za-z0-9._ +-]{0,119}$"

Fraction = Annotated[float, Field(ge=0.1, le=1)]
Seed = Annotated[int, Field(ge=0)]


def _schema_of_block(schema: dict[str, Any]) -> None:
    """What `_collect` allows: dotted keys, and one value in place of a list."""
    schema["patternProperties"] = {r"\.": True}
    for name in AXES:
        values = schema["properties"][name]
        schema["properties"][name] = {"anyOf": [values, values["items"]]}


def _schema_of_search(schema: dict[str, Any]) -> None:
    """A single block may stand without a list."""
    blocks = {name: schema.pop(name) for name in ("items", "minItems", "type")}
    schema["anyOf"] = [blocks["items"], blocks]


class SearchBlock(StageConfig):
    """One block of axes; the trials are their product."""

    model_config = ConfigDict(json_schema_extra=_schema_of_block)

    method: Literal["grid", "random"] = Field(
        "grid", description="grid: all combinations; random: `samples` of them"
    )
    samples: int | None = Field(None, ge=1, description="for method: random")
    sampling_seed: int = Field(0, ge=0, description="for method: random")
    sparsity: tuple[Level | Literal["auto"], ...] = Field((0.3,), min_length=1)
    patch_drop: tuple[Level, ...] = Field((0.1,), min_length=1)
    mask_data_fraction: tuple[Fraction, ...] = Field((0.1,), min_length=1)
    arm: tuple[Arm, ...] = Field(("lotus",), min_length=1)
    seed: tuple[Seed, ...] = Field((0,), min_length=1)
    axes: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="any other configuration key, dotted: [values]"
    )

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, raw: Any) -> Any:
        """Dotted keys become `axes`; a single value becomes a list of one."""
        if not isinstance(raw, dict):
            return raw
        found = dict(raw)
        if not isinstance(found.get("axes") or {}, dict):
            return raw
        axes = dict(found.get("axes") or {})
        for name in [key for key in found if isinstance(key, str) and "." in key]:
            axes[name] = found.pop(name)
        for name in AXES:
            if name in found and isinstance(found[name], str | int | float):
                found[name] = [found[name]]
        if axes:
            found["axes"] = {k: v if isinstance(v, list) else [v] for k, v in axes.items()}
        return found

    def points(self) -> Iterator[dict[str, Any]]:
        """Every combination of the axes, or a random part of them, always the same one."""
        names = [*AXES, *self.axes]
        values = [*(getattr(self, name) for name in AXES), *self.axes.values()]
        combined: Sequence[tuple[Any, ...]] = list(itertools.product(*values))
        if self.method == "random":
            import random

            draw = random.Random(self.sampling_seed)
            count = min(self.samples or 1, len(combined))
            # Shuffling the whole list makes a larger sample contain every smaller one.
            combined = draw.sample(combined, len(combined))[:count]
        for point in combined:
            yield dict(zip(names, point, strict=True))

    def size(self) -> int:
        """Number of combinations before equal trials are merged."""
        total = 1
        for name in AXES:
            total *= len(getattr(self, name))
        for values in self.axes.values():
            total *= len(values)
        return total


class ResourcesSection(StageConfig):
    """What one trial occupies."""

    cpu: float = Field(1, gt=0)
    gpu: float = Field(0, ge=0, description="may be a fraction of one")
    max_concurrent_trials: int | None = Field(None, ge=1)


class RetrySection(StageConfig):
    """What happens to trials whose process dies."""

    max_failures: int = Field(3, ge=0, description="restarts of one trial")


class RetentionSection(StageConfig):
    """Which checkpoints go to MLflow; the store keeps all."""

    checkpoints: Literal["best", "all", "none"] = "best"


class TrackingSection(StageConfig):
    """Where MLflow is."""

    uri: str = Field(
        default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///lotus/mlflow.db"),
        description="sqlite:///path, postgresql://..., http(s)://server; "
        "default: MLFLOW_TRACKING_URI or a file below the working directory",
    )

    @field_validator("uri")
    @classmethod
    def _absolute(cls, uri: str) -> str:
        """Workers run elsewhere: a relative SQLite path means this working directory."""
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", uri)
        if match:
            return f"sqlite:///{Path(match[1]).absolute()}"
        if not re.match(r"^(sqlite:///|https?://|postgresql|mysql|mssql|databricks)", uri):
            raise ValueError(
                "must be sqlite:///PATH, http(s)://SERVER or a database address; MLflow's file "
                "store is retired"
            )
        return uri


class StorageSection(StageConfig):
    """Where stage results are kept."""

    path: str = Field("lotus/store", min_length=1, description="folder, NFS or s3://bucket/path")

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        return path if "://" in path else str(Path(path).expanduser().absolute())


class SweepConfig(StageConfig):
    """A sweep file."""

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
    search: tuple[SearchBlock, ...] = Field(
        (SearchBlock(),), min_length=1, json_schema_extra=_schema_of_search
    )
    resources: ResourcesSection = ResourcesSection()
    retry: RetrySection = RetrySection()
    retention: RetentionSection = RetentionSection()
    tracking: TrackingSection = Field(default_factory=TrackingSection)
    storage: StorageSection = Field(default_factory=StorageSection)

    @field_validator("search", mode="before")
    @classmethod
    def _blocks(cls, raw: Any) -> Any:
        return [raw] if isinstance(raw, dict) else raw

    @property
    def experiment_name(self) -> str:
        """The MLflow experiment."""
        return self.experiment or self.name

    @cached_property
    def axes(self) -> dict[str, list[Any]]:
        """Axis name -> all values over the blocks, in order of appearance."""
        found: dict[str, list[Any]] = {}
        for block in self.search:
            for name in AXES:
                found.setdefault(name, []).extend(getattr(block, name))
            for name, values in block.axes.items():
                found.setdefault(name, []).extend(values)
        return {name: list(dict.fromkeys(hashable(values))) for name, values in found.items()}

    def base(self) -> TrialConfig:
        """The settings that all trials share, at the default point of the short axes."""
        return TrialConfig.model_validate({name: getattr(self, name) for name in SECTIONS})

    def trials(self) -> Iterator[tuple[TrialConfig, dict[str, Any]]]:
        """Every trial with its point on the axes, presets filled in; equal ones not merged yet."""
        base = self.base()
        for block in self.search:
            for point in block.points():
                changes = {name: point[name] for name in AXES}
                changed = base.model_copy(update=changes)
                for name in block.axes:
                    changed = with_axis(changed, name, point[name])
                yield changed.resolved(), point


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
