"""What a stage is, and a call of one that has not run yet.

The pipeline only *describes* work: it builds a graph of `Node`s. An executor walks the graph
(`trials.graph.execute` in memory; the orchestrator's through its store). So a plan can list every
stage without running one, and nobody decides by looking into a result.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

R = TypeVar("R")


def _leaves(hint: Any) -> Iterator[Any]:
    """The types that a hint is made of."""
    yield hint
    for argument in get_args(hint):
        yield from _leaves(argument)


class Later:
    """Marks a setting that came after results had been stored: `Annotated[T, Later()] = ...`.

    At its default the stage computes what it computed before there was such a setting, so it is in
    no key then. Elsewhere it is a setting like any other.
    """


class StageConfig(BaseModel):
    """Base of all stage settings: frozen, and unknown names are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`epochs: true` is a mistake, not one epoch."""
        found = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in found):
            hint = cls.model_fields[info.field_name or ""].annotation
            if not {bool, Any} & set(_leaves(hint)):
                raise ValueError("must be a number or text, not true or false")
        return value

    def identity(self) -> dict[str, Any]:
        """What a key is made of: every setting, but for a `Later` one at its default."""
        found: dict[str, Any] = self.model_dump(mode="json")
        for name, default in _later(type(self)).items():
            if getattr(self, name) == default:
                del found[name]
        for name in found:
            if isinstance(inner := getattr(self, name), StageConfig):
                found[name] = inner.identity()
        return found

    def part(self, kind: "type[C]", **changes: Any) -> "C":
        """The fields of `kind` out of this larger section, with `changes`."""
        values = {name: getattr(self, name) for name in kind.model_fields if hasattr(self, name)}
        return kind.model_validate(values | changes)


C = TypeVar("C", bound=StageConfig)


@cache
def _later(kind: type[StageConfig]) -> dict[str, Any]:
    """The marked settings of a section, and their defaults."""
    return {
        name: field.default
        for name, field in kind.model_fields.items()
        if any(isinstance(one, Later) for one in field.metadata)
    }


@dataclass(frozen=True, slots=True)
class Stage(Generic[R]):
    """A pure function `(cfg, ctx, **inputs) -> result` with a name and a version.

    Raise `version` whenever the function computes something else for the same inputs: results
    under the old version are then never read again.
    """

    name: str
    version: int
    function: Callable[..., R]
    result: type[R]
    seeded: bool

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self.function(*args, **kwargs)


STAGES: dict[str, Stage[Any]] = {}


def stage(name: str, version: int) -> Callable[[Callable[..., R]], Stage[R]]:
    """Give a function its identity as a stage and enter it in `STAGES`."""

    def register(function: Callable[..., R]) -> Stage[R]:
        hints = get_type_hints(function)
        made: Stage[R] = Stage(name, version, function, hints["return"], "seed" in hints)
        if name in STAGES:
            raise ValueError(f"two stages are called {name!r}")
        STAGES[name] = made
        return made

    return register


@dataclass(frozen=True, slots=True)
class Source:
    """Something from outside that stages read: the data set, a weights file. Known by content."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do, whoever does it.

    Attributes:
        macs: multiply-accumulates.
        calls: times that a block runs on a batch: each costs something however small the batch,
            and in a small model more than the multiplications.
    """

    macs: float = 0.0
    calls: float = 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(self.macs + other.macs, self.calls + other.calls)

    def __mul__(self, times: float) -> "Load":
        return Load(self.macs * times, self.calls * times)

    __rmul__ = __mul__


@dataclass(frozen=True, eq=False)
class Node(Generic[R]):
    """One deferred call of a stage. Equal work is recognised by key, not by object.

    Attributes:
        config: every setting that can change the result, defaults included.
        seed: None for a stage without randomness, so that seeds share it.
        work: estimated, for the plan and the time left only; never part of a key.
    """

    stage: Stage[R]
    config: StageConfig
    seed: int | None
    inputs: Mapping[str, "Node[Any] | tuple[Node[Any], ...] | Source | None"]
    work: Callable[[], Load] = field(default=Load, repr=False)

    def work_macs(self) -> float:
        """Estimated multiply-accumulates."""
        return self.work().macs

    def parents(self) -> Iterator["Node[Any]"]:
        """The nodes that this one reads, in the order of its inputs."""
        for value in self.inputs.values():
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from value


def closure(node: Node[Any]) -> list[Node[Any]]:
    """Everything that `node` needs, itself last, each object once, parents before children."""
    seen: set[int] = set()
    order: list[Node[Any]] = []

    def visit(current: Node[Any]) -> None:
        if id(current) in seen:
            return
        seen.add(id(current))
        for parent in current.parents():
            visit(parent)
        order.append(current)

    visit(node)
    return order
