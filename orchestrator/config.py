"""The sweep file: load, override, check, expand into trials."""

import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestrator.problems import Problem, SweepError, from_pydantic, known_names, suggest
from trials.config import (
    MASKED,
    TICKETED,
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
MAX_TRIALS = 1_000_000

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
        return {name: list(dict.fromkeys(_hashable(values))) for name, values in found.items()}

    def trials(self) -> Iterator[tuple[TrialConfig, dict[str, Any]]]:
        """Every trial with its point on the axes; equal trials are not merged yet."""
        base = TrialConfig.model_validate({name: getattr(self, name) for name in SECTIONS})
        for block in self.search:
            for point in block.points():
                changes = {name: point[name] for name in AXES}
                changed = base.model_copy(update=changes)
                for name in block.axes:
                    changed = _with(changed, name, point[name])
                yield changed, point


def _hashable(values: list[Any]) -> list[Any]:
    """Values that can be compared and looked up, whatever YAML made of them."""
    plain = (str, int, float, bool, type(None))
    return [v if isinstance(v, plain) else json.dumps(v, default=str) for v in values]


def _with(trial: TrialConfig, name: str, value: Any) -> TrialConfig:
    """The trial with one dotted setting changed and checked."""
    section, _, rest = name.partition(".")
    current = getattr(trial, section)
    changed = type(current).model_validate(_nested(current.model_dump(), rest.split("."), value))
    return trial.model_copy(update={section: changed})


def _nested(raw: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    head, *rest = path
    inner = raw.get(head)
    new = _nested(inner if isinstance(inner, dict) else {}, rest, value) if rest else value
    return raw | {head: new}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, value_node in node.value:
        merges = key_node.tag == "tag:yaml.org,2002:merge"
        if merges and isinstance(value_node, yaml.SequenceNode):
            raise yaml.constructor.ConstructorError(
                None, None, "`<<` takes one mapping here, not a list", key_node.start_mark
            )
        key = "<<" if merges else loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is not text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{key}` stands twice", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

MAX_FILE_BYTES = 1_000_000


def bundled() -> dict[str, Path]:
    """Sweeps that come with the package, by name."""
    folder = Path(__file__).parent / "sweeps"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_sweep(path_or_name: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep file, or a bundled sweep by name.

    Args:
        path_or_name: `sweep.yaml`, or `digits`.
        overrides: `a.b=value`, the value in YAML.

    Raises:
        SweepError: with every problem of the file at once.
    """
    source, text = _read(path_or_name)
    raw = _parse(source, text)
    for override in overrides:
        raw = _override(source, raw, override)
    try:
        sweep = SweepConfig.model_validate(raw)
    except ValidationError as error:
        found = from_pydantic(error, _as_written(raw), SweepConfig)
        if isinstance(raw.get("search"), dict):
            found = [replace(p, path=_without_block(p.path)) for p in found]
        raise SweepError(source, found) from None
    if problems := list(_check(sweep, raw)):
        raise SweepError(source, problems)
    return sweep


def _read(path_or_name: str | Path) -> tuple[str, str]:
    path = Path(path_or_name)
    if str(path_or_name) in bundled() and not path.exists():
        path = bundled()[str(path_or_name)]
    shown = str(path_or_name)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SweepError(shown, [Problem((), "is over 1 MB, too large for a sweep file")])
        return shown, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        names = ", ".join(bundled())
        message = f"no such file, and no bundled sweep of that name; bundled: {names}"
        raise SweepError(shown, [Problem((), message)]) from None
    except (OSError, ValueError) as error:
        raise SweepError(shown, [Problem((), f"cannot be read: {error}")]) from None


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        message = f"{where}{error.problem or 'not YAML'}"
        raise SweepError(source, [Problem((), message)]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SweepError(source, [Problem((), f"not YAML: {str(error)[:200]}")]) from None
    if not isinstance(raw, dict):
        kind = "empty" if raw is None else f"a {type(raw).__name__}"
        message = f"is {kind}; a sweep file is a mapping with name, data and model"
        raise SweepError(source, [Problem((), message)])
    return raw


def _override(source: str, raw: dict[str, Any], text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        message = "an override is written a.b=value, e.g. --set finetune.lr=1e-4"
        raise SweepError(f"--set {text}", [Problem((), message)])
    try:
        parsed = yaml.load(value, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SweepError(f"--set {text}", [Problem((), "the value is not YAML")]) from None
    path = name.strip().split(".")
    if path[0] == "search" and len(path) > 2:  # search.issp.merge is the axis `issp.merge`
        path = ["search", ".".join(path[1:])]
    if path[0] == "search" and isinstance(raw.get("search"), list):
        message = "`search` is a list of blocks here; change them in the file"
        raise SweepError(f"--set {text}", [Problem((), message)])
    return _nested(raw, path, parsed)


def _as_written(raw: dict[str, Any]) -> dict[str, Any]:
    """The raw mapping with a single search block as pydantic sees it: a list."""
    search = raw.get("search")
    return raw | {"search": [search]} if isinstance(search, dict) else raw


def _without_block(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """`search.0.seed` -> `search.seed`, where the file has one block and no list."""
    return ("search", *path[2:]) if path[:2] == ("search", 0) else path


def _check(sweep: SweepConfig, raw: dict[str, Any]) -> Iterator[Problem]:
    """Problems between settings."""
    single = not isinstance(raw.get("search"), list)
    yield from _check_finite(raw, ())
    yield from _check_data(sweep)
    yield from _check_weights(sweep)
    for i, block in enumerate(sweep.search):
        where: tuple[str | int, ...] = ("search",) if single else ("search", i)
        yield from _check_block(sweep, block, where)
    if sum(block.size() for block in sweep.search) > MAX_TRIALS:
        yield Problem(("search",), f": more than {MAX_TRIALS:,} combinations; split the sweep")


def _check_finite(value: Any, where: tuple[str | int, ...]) -> Iterator[Problem]:
    """No setting may be infinite or not a number: a key could not be made of it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(where, f" = {value}: must be a finite number")
    elif isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            yield from _check_finite(part, (*where, name))


def _check_data(sweep: SweepConfig) -> Iterator[Problem]:
    data = sweep.data
    if data.name == "cifar10" and data.root is None:
        yield Problem(("data", "root"), " is missing: the folder that holds cifar-10-batches-py/")
    if data.validation is not None and data.validation_from == "test":
        yield Problem(
            ("data", "validation"),
            f" = {data.validation}: with validation_from: test the test set is split into halves; "
            "remove one of the two",
        )


def _check_weights(sweep: SweepConfig) -> Iterator[Problem]:
    """A random model has no pretrained weights to read attention or magnitudes from."""
    if sweep.model.pretrained is not False:
        return
    arms = {arm for block in sweep.search for arm in block.arm}
    reason = "but model.pretrained is false, so there are none"
    if arms & TICKETED and sweep.tickets.weights == "pretrained":
        yield Problem(("tickets", "weights"), f" = pretrained, {reason}: write adapted")
    if arms - {"dense", "tickets"} and sweep.essential.weights == "pretrained":
        yield Problem(("essential", "weights"), f" = pretrained, {reason}: write adapted")
    if sweep.finetune.weights == "pretrained":
        yield Problem(("finetune", "weights"), f" = pretrained, {reason}: write current or random")
    if arms & MASKED and sweep.issp.weights == "rewind":
        yield Problem(("issp", "weights"), f" = rewind, {reason}: write current")


def _check_block(
    sweep: SweepConfig, block: SearchBlock, where: tuple[str | int, ...]
) -> Iterator[Problem]:
    for name in (*AXES, *block.axes):
        values = block.axes[name] if name in block.axes else getattr(block, name)
        if not values:
            yield Problem((*where, name), ": must not be empty")
        if len(set(_hashable(list(values)))) < len(values):
            yield Problem((*where, name), ": holds a value twice")
    if (block.method == "random") != (block.samples is not None):
        yield Problem((*where, "samples"), ": goes with `method: random`, and only with it")
    yield from _check_targets(sweep, block, where)
    for name, values in block.axes.items():
        yield from _check_axis(sweep, name, values, where)


def _check_targets(
    sweep: SweepConfig, block: SearchBlock, where: tuple[str | int, ...]
) -> Iterator[Problem]:
    follows = set(block.arm) & MASKED
    if not follows or sweep.issp.sparsity_reference == "relative":
        return
    targets = block.axes.get("issp.target_sparsity", (sweep.issp.target_sparsity,))
    target = min((t for t in targets if isinstance(t, int | float)), default=1.0)
    references = block.axes.get("issp.sparsity_reference", ("absolute",))
    if "absolute" not in references:
        return
    for i, level in enumerate(block.sparsity):
        if level != "auto" and level > target:
            yield Problem(
                (*where, "sparsity", i),
                f" = {level:g}: above issp.target_sparsity = {target:g}, so nothing is left to "
                "prune; raise the target or write `issp.sparsity_reference: relative`",
            )


def _check_axis(
    sweep: SweepConfig, name: str, values: Sequence[Any], where: tuple[str | int, ...]
) -> Iterator[Problem]:
    section, _, rest = name.partition(".")
    path = (*where, name)
    if section not in SECTIONS:
        yield Problem(path, f": unknown section{suggest(section, SECTIONS)}")
        return
    current: BaseModel = getattr(sweep, section)
    names = known_names(SweepConfig, (section,))
    head = rest.split(".")[0]
    if head not in names:
        near = suggest(head, names)
        yield Problem(path, f": unknown key{near}")
        return
    for i, value in enumerate(values):
        raw = _nested(current.model_dump(), rest.split("."), value)
        try:
            type(current).model_validate(raw)
        except ValidationError as error:
            inner = from_pydantic(error, raw, type(current))
            yield Problem((*path, i), inner[0].message if inner else ": cannot be used")


def resolved_yaml(sweep: SweepConfig) -> str:
    """The sweep with every default written out, as a sweep file; passwords are left out."""
    from orchestrator.secrets import without_password

    raw = sweep.model_dump(mode="json")
    raw["tracking"]["uri"] = without_password(raw["tracking"]["uri"])
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


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
