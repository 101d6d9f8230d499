"""Equal settings and equal nodes as one object, for whoever builds the graphs of many trials.

Ten thousand trials of a sweep consist of a few thousand different stages with a few dozen
different settings. Building each once makes planning ten times faster, and changes no key.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from trials.stage import Load, Node, Stage, StageConfig

R = TypeVar("R")
C = TypeVar("C", bound=StageConfig)
T = TypeVar("T")


class Shared:
    """Makes settings and nodes, and gives the one it made before where the parts are the same.

    The same is what is one object, or equal as plain value: a missed chance costs time only.
    """

    def __init__(self) -> None:
        # With each thing the parts whose identity stands in its key, so that they stay alive.
        self._made: dict[Any, tuple[Any, Any]] = {}

    def config(self, kind: type[C], **values: Any) -> C:
        """`kind(**values)`."""
        return self._once((kind, _tokens(values)), values, lambda: kind(**values))

    def part(self, section: StageConfig, kind: type[C], **changes: Any) -> C:
        """`section.part(kind, **changes)`."""
        key = (id(section), kind, _tokens(changes))
        return self._once(key, (section, changes), lambda: section.part(kind, **changes))

    def node(
        self,
        stage: Stage[R],
        config: StageConfig,
        seed: int | None,
        inputs: Mapping[str, Any],
        work: Callable[[], Load] = Load,
    ) -> Node[R]:
        """`Node(...)`; equal parts have equal work."""
        key = (stage.name, id(config), seed, _tokens(inputs))
        made = lambda: Node(stage, config, seed, inputs, work)  # noqa: E731
        return self._once(key, (config, inputs), made)

    def _once(self, key: Any, parts: Any, make: Callable[[], T]) -> T:
        found: tuple[T, Any] | None = self._made.get(key)
        if found is None:
            found = self._made[key] = (make(), parts)
        return found[0]


def _tokens(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((name, _token(value)) for name, value in values.items())


def _token(value: Any) -> Any:
    """What two equal values have in common; settings and nodes are known as objects."""
    if isinstance(value, Node | BaseModel):
        return id(value)
    if isinstance(value, tuple):
        return tuple(map(_token, value))
    if isinstance(value, list | dict):
        return repr(value)
    return type(value), value  # or 1, 1.0 and True would be one
