"""Running a graph through the store: what is there is read, what is missing is computed."""

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from orchestrator.keys import key_of
from orchestrator.store import Entry, Store
from trials.execute import call
from trials.stage import Node, Source
from trials.train import Context

R = TypeVar("R")

MEMORY_BYTES = 2 * 2**30


@dataclass(slots=True)
class Memory:
    """Results that this process has at hand, the least recently used forgotten first."""

    limit_bytes: int = MEMORY_BYTES
    _found: OrderedDict[str, tuple[Any, Entry]] = field(default_factory=OrderedDict)
    _bytes: dict[str, int] = field(default_factory=dict)

    def get(self, key: str) -> tuple[Any, Entry] | None:
        """A result and its entry, or None."""
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def put(self, key: str, result: Any, entry: Entry) -> None:
        """Remember a result; forget old ones beyond the limit."""
        self._found[key] = (result, entry)
        self._bytes[key] = held_bytes(result)
        while sum(self._bytes.values()) > self.limit_bytes:
            del self._bytes[self._found.popitem(last=False)[0]]


def held_bytes(result: Any) -> int:
    """Bytes of the tensors in a result; a mask is eight times what the store keeps of it."""
    if isinstance(result, torch.Tensor):
        return result.nbytes
    if isinstance(result, Mapping):
        return sum(map(held_bytes, result.values()))
    if isinstance(result, list | tuple):
        return sum(map(held_bytes, result))
    if dataclasses.is_dataclass(result):
        return sum(held_bytes(getattr(result, one.name)) for one in dataclasses.fields(result))
    return 0


@dataclass(slots=True)
class Cached:
    """The executor of a trial: each node from memory, from the store, or computed and stored.

    Attributes:
        started: told the name of each stage that is really computed.
        hits: nodes that came from the store or from memory.
        computed: nodes that this executor computed.
    """

    store: Store
    sources: Mapping[Source, object]
    ctx: Context
    memory: Memory
    started: Callable[[Node[Any]], None] = lambda node: None
    hits: dict[str, Entry] = field(default_factory=dict)
    computed: dict[str, Entry] = field(default_factory=dict)

    def get(self, node: Node[R]) -> R:
        """The result of a node; its inputs are only looked up when it must be computed."""
        key = key_of(node)
        found = self.memory.get(key) or self.store.get(node)
        if found is None:
            return self._compute(node, key)
        result, entry = found
        self.memory.put(key, result, entry)
        if key not in self.computed:
            self.hits[key] = entry
        return result  # type: ignore[no-any-return]

    def entry(self, node: Node[Any]) -> Entry | None:
        """How a node was computed, without reading its result."""
        key = key_of(node)
        known = self.hits.get(key) or self.computed.get(key)
        return known or self.store.entry(node)

    def _compute(self, node: Node[R], key: str) -> R:
        for parent in node.parents():
            self.get(parent)
        self.started(node)
        ctx = dataclasses.replace(self.ctx, snapshots=self.store.snapshots(node))
        start = time.perf_counter()
        result = call(node, ctx, self.sources, self.get)
        if ctx.device.type == "cuda":
            torch.cuda.synchronize(ctx.device)
        seconds = time.perf_counter() - start
        entry = self.store.put(node, result, seconds, ctx.device.type)
        self.computed[key] = entry
        self.memory.put(key, result, entry)
        return result
