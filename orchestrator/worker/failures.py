"""Why work fails, and what follows from it.

transient: a process or node died, a disk or the network did not answer: tried again.
memory: it ran out: tried again with a smaller micro-batch.
device: the GPU reported an error to this process, which can compute on it no more: the process
ends, and the item is tried again by itself in another one.
deterministic: the same computation would fail the same way: not tried again.
store: nothing more can be kept: the whole sweep stops.
"""

import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.secrets import redacted
from orchestrator.storage.files import StoreUnusable
from orchestrator.vocabulary import Artifact
from trials.errors import LotusError

Kind = Literal["transient", "memory", "device", "deterministic", "store"]

LARGEST_BATCH = 512
"""Images that the largest forward pass takes: the first smaller micro-batch is half of it."""

LONGEST_PAUSE_S = 60.0

_NETWORK = ("aiobotocore", "aiohttp", "botocore", "http", "ray", "requests", "urllib3")


MOST_NODES_LOST = 25
"""An item under which so many nodes went away is given up: it may be what takes them down."""

_NODE_LOST = ("node has died", "node was dead", "NodeDiedError", "was preempted", "node is dead")


class NodeError(LotusError):
    """This node cannot do the work; another one may."""


class SweepStopped(LotusError):  # noqa: N818, it says what has happened
    """The sweep ended before its end; what is finished is kept."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How one attempt failed.

    Attributes:
        reason: one line for people.
        detail: what Ray knows of a process that could say nothing itself.
        died: its process ended without a word; its node may have gone with it.
        node_lost: its node went away, as spot nodes do: no fault of what ran there.
    """

    kind: Kind
    reason: str
    detail: str = ""
    died: bool = False
    node_lost: bool = False


def failure_of(error: BaseException) -> Failure:
    """The class of an exception and its first line."""
    kind = kind_of(error)
    # What stops the whole sweep is shown to people as it is.
    text = str(error) if kind == "store" else f"{type(error).__name__}: {error}".strip()
    return Failure(kind, redacted(text)[:500])


def kind_of(error: BaseException) -> Kind:
    """The class of an exception."""
    if isinstance(error, StoreUnusable):
        return "store"
    if out_of_memory(error):
        return "memory"
    if device_broken(error):
        return "device"
    # Any file: one that is absent on this node may be there on another.
    if isinstance(error, OSError | NodeError) or type(error).__module__.split(".")[0] in _NETWORK:
        return "transient"
    return "deterministic"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory of the device or of the machine did not suffice.

    torch says it of the CPU by a plain RuntimeError.
    """
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    told = ("can't allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(one in str(error) for one in told)


_BROKEN = ("CUDA error", "HIP error", "XPU error", "device-side assert", "illegal memory access")


def device_broken(error: BaseException) -> bool:
    """Whether a GPU has reported an error: every later call of the same process fails as well.

    An index out of range is noticed by a kernel that runs later, so the line in the traceback is
    that of whoever asked next.
    """
    import torch

    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return True
    return isinstance(error, RuntimeError) and any(one in str(error) for one in _BROKEN)


class DeviceBrokenError(Exception):
    """Ends a process that has told all it had to tell: Tune uses none again that has raised."""


def of_ray(text: str) -> Failure:
    """What became of a process that ended without a word, from what Ray wrote about it."""
    detail = redacted(text)
    if "running low on memory" in text:
        return Failure("memory", "its process was ended because the node ran out of memory", detail)
    if any(one in text for one in _NODE_LOST):
        return node_died(detail)
    return Failure("transient", "its process died", detail, died=True)


def node_died(detail: str = "") -> Failure:
    """That a node went away under something."""
    return Failure("transient", "its node died", detail, node_lost=True)


def smaller(micro_batch: int | None) -> int | None:
    """Half of a micro-batch, None after 1. Without one so far: half of the largest batch."""
    half = (micro_batch or LARGEST_BATCH) // 2
    return half or None


@dataclass(slots=True)
class Attempts:
    """How often each item has failed, and what its next attempt may use.

    Attributes:
        max_failures: an item that fails oftener than this is given up; nodes that went away
            count apart, up to MOST_NODES_LOST.
        micro_batch: key -> of the next attempt, for items whose memory ran out.
    """

    max_failures: int
    micro_batch: dict[str, int] = field(default_factory=dict)
    _failed: Counter[str] = field(default_factory=Counter)
    _lost: Counter[str] = field(default_factory=Counter)
    _tried: Counter[str] = field(default_factory=Counter)

    def again(self, key: str, failure: Failure) -> float | None:
        """Seconds after which an item that failed is tried again; None = never."""
        if failure.kind not in ("transient", "memory", "device"):
            return None
        self._tried[key] += 1
        if failure.node_lost:
            self._lost[key] += 1
            return 0.0 if self._lost[key] <= MOST_NODES_LOST else None
        self._failed[key] += 1
        if self._failed[key] > self.max_failures:
            return None
        if failure.kind == "memory":
            self.micro_batch[key] = smaller(self.micro_batch.get(key)) or 1
        return min(LONGEST_PAUSE_S, 2.0 ** (self._failed[key] - 1) - 1)

    def forgive(self, key: str) -> None:
        """The last failure was its node's."""
        self._failed[key] -= 1

    def tried(self, key: str) -> bool:
        """Whether an item has failed before, for whatever reason."""
        return self._tried[key] > 0


def write_evidence(folder: Path, error: BaseException | str, lines: list[str]) -> None:
    """`failure/traceback.txt` and `failure/log.txt` below a folder, without secrets.

    Args:
        error: what was raised, or what Ray wrote about a process that died.
        lines: the last ones that the attempt wrote.
    """
    text = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    for path, content in ((Artifact.TRACEBACK, text), (Artifact.LOG, "\n".join(lines) + "\n")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(redacted(content), encoding="utf-8")
