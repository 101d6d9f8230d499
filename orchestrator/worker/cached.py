"""Running a graph through the store: what is there is read, what is missing is computed."""

from __future__ import annotations

import dataclasses
import gc
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orchestrator import metrics
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Entry, Store
from orchestrator.worker.failures import out_of_memory, smaller
from trials.context import Context, Progress
from trials.graph.execute import call
from trials.lazy import torch
from trials.stage import Node, Source

R = TypeVar("R")

MEMORY_BYTES = 2 * 2**30

OBJECT_BYTES = 4096
"""About what a result without tensors takes, its entry included."""


@dataclass(slots=True)
class Memory:
    """Results that this process has at hand, the least recently used forgotten first."""

    limit_bytes: int = MEMORY_BYTES
    _found: OrderedDict[str, tuple[Any, Entry]] = field(default_factory=OrderedDict)
    _bytes: dict[str, int] = field(default_factory=dict)
    _all_bytes: int = 0

    def get(self, key: str) -> tuple[Any, Entry] | None:
        """A result and its entry, or None."""
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def put(self, key: str, result: Any, entry: Entry) -> None:
        """Remember a result; forget old ones beyond the limit."""
        if key in self._found:
            return  # equal keys, equal results
        self._found[key] = (result, entry)
        self._bytes[key] = OBJECT_BYTES + held_bytes(result)
        self._all_bytes += self._bytes[key]
        while self._all_bytes > self.limit_bytes:
            oldest, _ = self._found.popitem(last=False)
            self._all_bytes -= self._bytes.pop(oldest)


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
        owner: of what is computed, so that a later attempt knows its own work again.
        guard: around each computation of a stage, by its name.
        told: told the key of the stage that is computed, and the fraction that is done.
        hits: nodes that came from the store or from memory, and were not the owner's own.
        computed: nodes that this executor computed, now or for the same owner before.
    """

    store: Store
    sources: Mapping[Source, object]
    ctx: Context
    memory: Memory
    started: Callable[[Node[Any]], None] = lambda node: None
    owner: str = ""
    guard: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext()
    told: Callable[[str, float], None] = lambda stage, fraction: None
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
        if self.owner and entry.computed_by == self.owner:
            self.computed[key] = entry
        elif key not in self.computed:
            self.hits[key] = entry
        return result  # type: ignore[no-any-return]

    def entry(self, node: Node[Any]) -> Entry | None:
        """How a node was computed, without reading its result."""
        key = key_of(node)
        known = self.hits.get(key) or self.computed.get(key)
        return known or self.store.entry(node)

    @property
    def micro_batch(self) -> int | None:
        """What memory allowed; None when it sufficed."""
        return self.ctx.micro_batch

    def measure_hits(self) -> None:
        """Measure what the store has saved, once a trial has everything."""
        for entry in self.hits.values():
            metrics.count(metrics.CACHE_HITS, stage=entry.stage)
            metrics.count(metrics.CACHE_SAVED_SECONDS, entry.seconds, stage=entry.stage)

    def _compute(self, node: Node[R], key: str) -> R:
        for parent in node.parents():
            self.get(parent)
        self.started(node)
        self.told(key, 0.0)
        start = time.perf_counter()
        result = self._call(node)
        seconds = time.perf_counter() - start
        device = self.ctx.device.type
        name = node.stage.name
        metrics.observe(metrics.STAGE_SECONDS, seconds, stage=name)
        metrics.count(metrics.STAGE_BUSY_SECONDS, seconds, stage=name, device=device)
        entry = self.store.put(node, result, seconds, device, computed_by=self.owner)
        self.computed[key] = entry
        self.memory.put(key, result, entry)
        return result

    def _counted(self, key: str) -> Callable[[Progress], None]:
        """What a stage tells of its progress, counted and passed on."""

        def counted(step: Progress) -> None:
            metrics.count(metrics.PROGRESS)
            self.told(key, step.done / max(1, step.total))
            self.ctx.progress(step)

        return counted

    def _call(self, node: Node[R]) -> R:
        """Run a stage; when memory runs out again at once, with ever smaller micro-batches."""
        while True:
            ctx = dataclasses.replace(
                self.ctx,
                snapshots=self.store.snapshots(node),
                progress=self._counted(key_of(node)),
            )
            try:
                with self.guard(node.stage.name):
                    result = call(node, ctx, self.sources, self.get)
                    ctx.synchronise()
                return result
            except Exception as error:
                less = smaller(ctx.micro_batch)
                if less is None or not out_of_memory(error):
                    raise
                warnings.warn(
                    f"{node.stage.name}: memory ran out ({str(error)[:200]}); again with at most "
                    f"{less} images at a time",
                    stacklevel=2,
                )
            # Here the exception is gone, and with its frames the tensors that they held.
            self.ctx = dataclasses.replace(self.ctx, micro_batch=less)
            gc.collect()
            torch.cuda.empty_cache()
