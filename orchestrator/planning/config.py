"""What a sweep file may say, and the trials that it means."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    field_validator,
)

from orchestrator.planning.sections import (
    NAME,
    ResourcesSection,
    RetentionSection,
    RetrySection,
    StorageSection,
    TrackingSection,
)
from orchestrator.search.block import AXES, SearchBlock
from orchestrator.search.space import Range
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


def _schema_of_search(schema: dict[str, Any]) -> None:
    """A single block may stand without a list."""
    blocks = {name: schema.pop(name) for name in ("items", "minItems", "type")}
    schema["anyOf"] = [blocks["items"], blocks]


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
