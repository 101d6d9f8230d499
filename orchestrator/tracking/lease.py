"""One driver per sweep: a note on the sweep's run says who works on it.

The note counts up while its holder is alive. Time is measured by this host's monotonic clock only,
so neither clock changes nor differences between hosts can end or prolong a lease.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestrator.tracking.patience import patiently
from orchestrator.tracking.port import Client
from orchestrator.versions import host
from orchestrator.vocabulary import Tag
from trials.errors import LotusError


class LeaseError(LotusError):
    """Somebody else works on this sweep."""


class Notes(Protocol):
    """Where the note is kept; implementations may raise any error."""

    def read(self) -> str | None:
        """The note, None when there is none."""

    def write(self, text: str) -> None:
        """Replace the note."""

    def clear(self) -> None:
        """Remove it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a lease is kept, in seconds.

    Attributes:
        beat_s: between two renewals.
        gone_s: a note that has not changed for this long has no holder any more.
        settle_s: between writing and reading back, so that of two writers only one remains.
    """

    beat_s: float = 5.0
    gone_s: float = 60.0
    settle_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease.

    Attributes:
        machine: the boot and the process namespace in which `pid` is valid.
        born: start of the process in ticks since that boot; distinguishes reused process numbers.
        beat: number of renewals.
        seen: wall clock of the last renewal, for display only.
    """

    id: str
    host: str
    machine: str
    pid: int
    born: str
    beat: int
    seen: str

    def text(self) -> str:
        """The text of the note."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str | None) -> "Holder | None":
        """The inverse of `text`; None for anything else."""
        try:
            holder = cls(**json.loads(text or ""))
        except (ValueError, TypeError):
            return None
        return holder if isinstance(holder.pid, int) and isinstance(holder.beat, int) else None

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        pid = os.getpid()
        return cls(
            id=uuid.uuid4().hex, host=host(), machine=machine(), pid=pid, born=born(pid), beat=0,
            seen=_now(),
        )  # fmt: skip

    @property
    def ended(self) -> bool | None:
        """Whether the process has ended; None if that is unknown on this machine."""
        if not self.machine or self.machine != machine():
            return None
        if self.pid == os.getpid():
            return self.id not in _HELD  # left over from an earlier run in this process
        return born(self.pid) != self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


_HELD: set[str] = set()
"""Ids of the leases that this process holds."""


def machine() -> str:
    """Boot and process namespace, in which process numbers are unique; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def born(pid: int) -> str:
    """When a process of this machine started, in ticks since the boot; empty if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@dataclass
class Lease:
    """The right to work on a sweep, from `acquire` to `release`.

    Attributes:
        lost: called once, from another thread, when somebody else has taken over the lease.
        say: called with a message when the lease has to wait.
    """

    notes: Notes
    lost: Callable[[str], None] = lambda reason: None
    say: Callable[[str], None] = lambda text: None
    timing: Timing = Timing()
    _mine: Holder = field(default_factory=Holder.here)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Lease":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether nobody else has taken it over."""
        return self._mine.id in _HELD

    def acquire(self) -> None:
        """Take the lease, if need be from a holder that has ended, and keep renewing it.

        Raises:
            LeaseError: somebody else holds it.
        """
        if (other := Holder.of_text(patiently(self.notes.read))) is not None:
            self._wait_out(other)
        patiently(lambda: self.notes.write(self._mine.text()))
        time.sleep(self.timing.settle_s)
        # The last writer holds it; the other one notices here.
        other = Holder.of_text(patiently(self.notes.read))
        if other is not None and other.id != self._mine.id:
            raise LeaseError(_refusal(other))
        _HELD.add(self._mine.id)
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lotus-lease")
        self._thread.start()

    def release(self) -> None:
        """Give the lease back. A note that cannot be removed is later recognised as left over."""
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=self.timing.beat_s)
        if not self.held:
            return
        _HELD.discard(self._mine.id)
        try:
            if self._holder_id() == self._mine.id:
                self.notes.clear()
        except Exception:  # of the tracking store: it is away, which is reported elsewhere
            return

    def _holder_id(self) -> str | None:
        holder = Holder.of_text(self.notes.read())
        return holder.id if holder else None

    def _wait_out(self, other: Holder) -> None:
        """Wait until the holder is known to have ended."""
        if other.ended:
            return
        if other.ended is False:
            raise LeaseError(_refusal(other))
        self.say(
            f"{other} worked on this sweep and was last seen at {other.seen}: waiting up to "
            f"{self.timing.gone_s:.0f} s for a sign of life"
        )
        until = time.monotonic() + self.timing.gone_s
        while time.monotonic() < until:
            time.sleep(min(1.0, self.timing.beat_s / 4))
            current = Holder.of_text(patiently(self.notes.read))
            if current is None:
                return
            if (current.id, current.beat) != (other.id, other.beat):
                raise LeaseError(_refusal(current))

    def _keep(self) -> None:
        while not self._done.wait(self.timing.beat_s):
            try:
                holder = Holder.of_text(self.notes.read())
                if holder is not None and holder.id != self._mine.id:
                    _HELD.discard(self._mine.id)
                    self.lost(f"{holder} has taken this sweep over; this one stops")
                    return
                self._mine = replace(self._mine, beat=self._mine.beat + 1, seen=_now())
                self.notes.write(self._mine.text())
            except Exception:  # of the tracking store: it is away, so the next beat tries again
                continue


def _refusal(holder: Holder) -> str:
    return (
        f"{holder} works on this sweep, last seen alive at {holder.seen}. Wait until it has "
        "ended, or stop it there (Ctrl-C, or `kill` with its number); then the same command "
        "continues."
    )


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


@dataclass(slots=True)
class RunTag:
    """The note as a tag of an MLflow run."""

    client: Client
    run_id: str

    def read(self) -> str | None:
        """The note, None when there is none."""
        text: str | None = self.client.get_run(self.run_id).data.tags.get(Tag.DRIVER)
        return text or None

    def write(self, text: str) -> None:
        """Replace the note."""
        self.client.set_tag(self.run_id, Tag.DRIVER, text)

    def clear(self) -> None:
        """Remove it; empty rather than deleted, because deleting a deleted tag is an error."""
        self.client.set_tag(self.run_id, Tag.DRIVER, "")
