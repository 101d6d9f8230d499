"""What a store holds and what `lotus gc` frees, for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from orchestrator.commands.collecting import Collected, asker, collect
from orchestrator.planning.sections import default_tracking
from orchestrator.secrets import redacted
from orchestrator.storage.store import Entry, Store, object_path
from trials.errors import LotusError

NOTHING: dict[str, Any] = {"freeable_bytes": 0, "freeable_error": None}
"""Of an empty store."""


class _Looked(Store):
    """A store whose index is read once, for several who look."""

    _seen: dict[str, Entry | None] | None = None

    def indexed(self) -> dict[str, Entry | None]:
        if self._seen is None:
            self._seen = super().indexed()
        return dict(self._seen)


def store_size(path: str, *uris: str) -> dict[str, Any]:
    """Bytes of a store, in all and by stage, and how many `lotus gc` would free now.

    An object that two stages share counts once. Bytes are None, with the reason, for a store that
    cannot be read from here, and where nobody knows what may be freed.

    Args:
        uris: tracking stores with their passwords, which pins do not hold.
    """
    try:
        store = _Looked(path)
        objects = store.files.list("objects")
        found: Counter[str] = Counter()
        left = {name: info.bytes for name, info in objects.items()}
        for entry in store.entries():
            found[entry.stage] += left.pop(object_path(entry.object), 0)
    except LotusError as error:
        why = str(error)
        return {"path": redacted(path), "bytes": None, "stages": {}, "error": why} | _unknown(why)
    stages = dict(found.most_common())
    return {
        "path": redacted(path),
        "bytes": sum(info.bytes for info in objects.values()),
        "stages": stages | ({"unused": sum(left.values())} if left else {}),
    } | (_freeable(store, uris) if objects else NOTHING)


def _freeable(store: Store, uris: Sequence[str]) -> dict[str, Any]:
    try:
        found = collect(store, asker([default_tracking(), *uris]), dry_run=True)
    except LotusError as error:
        return _unknown(str(error))
    return {"freeable_bytes": found.freed_bytes, "freeable_error": None}


def _unknown(why: str) -> dict[str, Any]:
    return {"freeable_bytes": None, "freeable_error": why}


def describe_store(size: dict[str, Any]) -> str:
    """The size of a store in words."""
    if size["bytes"] is None:
        return f"store {size['path']}: {size['error']}"
    parts = [f"{stage} {mebibytes(count)}" for stage, count in size["stages"].items()]
    listed = f" ({', '.join(parts)})" if parts else ""
    free = size["freeable_bytes"]
    freed = "" if free is None else f"; `lotus gc` would free {mebibytes(free)} now"
    return f"store {size['path']}: {mebibytes(size['bytes'])}{listed}{freed}"


def describe_collected(found: Collected) -> str:
    """What `lotus gc` did, in words."""
    done = "would free" if found.dry_run else "freed"
    lines = [f"  kept     {name}: {reason}" for name, reason in found.kept]
    lines += [f"  dropped  {name}: {reason}" for name, reason in found.dropped]
    lines += [
        f"  {done} {mebibytes(found.bytes[kind])} of {kind} ({count} files)"
        for kind, count in sorted(found.files.items(), key=lambda one: -found.bytes[one[0]])
    ]
    if found.unknown:
        lines.append(
            f"  {len(found.unknown)} of {len(found.kept)} kept sweeps are unknown to MLflow, so "
            "nothing of theirs is freed. If its database was restored or made anew, run them again "
            "(nothing is computed again). If their runs were removed for good, `lotus gc --force` "
            "frees their results."
        )
    if found.before_pins:
        lines.append(
            f"  {found.before_pins} results that no known sweep needs stay, because they are older "
            "than the first sweep that said what it needs. Run every sweep that you want to keep "
            "once more, then `lotus gc --old`."
        )
    return "\n".join([*lines, f"{done} {mebibytes(found.freed_bytes)}"])


def collected_json(found: Collected) -> dict[str, Any]:
    """The same for programs."""
    sweeps = [
        {"sweep": name, "kept": stays, "reason": reason}
        for stays, listed in ((True, found.kept), (False, found.dropped))
        for name, reason in listed
    ]
    return {
        "dry_run": found.dry_run,
        "freed_bytes": found.freed_bytes,
        "files": dict(found.files),
        "bytes": dict(found.bytes),
        "before_pins": found.before_pins,
        "unknown": found.unknown,
        "sweeps": sweeps,
    }


def mebibytes(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 2**20:,.1f} MiB"
