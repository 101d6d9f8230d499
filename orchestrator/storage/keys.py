"""Keys: what makes two stage calls the same work.

A key is the sha256 of the canonical JSON of stage name, stage version, the complete settings
(defaults included, but for those that came later: `trials.stage.Later`), the keys of the inputs,
the seed, and the digests of data and weights. No path, device, worker count or clock reading can
reach it: those live in types that a `Node` does not hold.
"""

import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

from trials.stage import Node, Source

_KNOWN: WeakKeyDictionary[Node[Any], str] = WeakKeyDictionary()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(node: Node[Any]) -> str:
    """The key of a stage call: 64 hexadecimal digits."""
    key = _KNOWN.get(node)
    if key is None:
        key = _KNOWN[node] = hashlib.sha256(canonical(identity(node)).encode()).hexdigest()
    return key


def identity(node: Node[Any]) -> dict[str, Any]:
    """What the key is made of, readable: shown when somebody asks why two keys differ."""
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
