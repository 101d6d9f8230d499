"""Keys: which stage calls are the same work.

A key is the sha256 of the canonical JSON of stage name, stage version, complete settings (defaults
included, but for those that came later: `trials.stage.Later`), keys of the inputs, seed, and
digests of data and weights. Paths, devices, worker counts and times cannot get into it: they are
in types that a `Node` does not hold.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from trials.stage import Node, Source

_KEYS: WeakKeyDictionary[Node[Any], str] = WeakKeyDictionary()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(node: Node[Any]) -> str:
    """The key of a stage call: 64 hexadecimal digits."""
    key = _KEYS.get(node)
    if key is None:
        key = _KEYS[node] = hashlib.sha256(canonical(identity(node)).encode()).hexdigest()
    return key


def identity(node: Node[Any]) -> dict[str, Any]:
    """What the key is made of, to see why two keys differ."""
    return {
        "stage": node.stage.name,
        "version": node.stage.version,
        "config": node.config.identity(),
        "seed": node.seed,
        "inputs": {name: _input(value) for name, value in node.inputs.items()},
    }


def _input(value: Any) -> Any:
    if isinstance(value, Node):
        return key_of(value)
    if isinstance(value, tuple):
        return [key_of(node) for node in value]
    return {value.name: value.digest} if isinstance(value, Source) else None


def missing_nodes(nodes: Iterable[Node[Any]], stored: Collection[str]) -> dict[str, Node[Any]]:
    """The stages that must run for all of `nodes`, by key: nothing above a stored one."""
    found: dict[str, Node[Any]] = {}

    def visit(current: Node[Any]) -> None:
        key = key_of(current)
        if key in stored or key in found:
            return
        found[key] = current
        for parent in current.parents():
            visit(parent)

    for node in nodes:
        visit(node)
    return found
