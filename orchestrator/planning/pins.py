"""What each sweep needs of a store, written there before anything runs: `lotus gc` frees the rest.

sweeps/<run id>.json     the stage keys of a sweep, and where its run is tracked
sweeps/since.json        when the first sweep was pinned: what is older may belong to one that
                         ran before there were pins
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.planning.plan import Plan
from orchestrator.secrets import without_password
from orchestrator.storage.files import Files
from orchestrator.storage.keys import canonical, key_of
from orchestrator.storage.store import Store
from orchestrator.versions import host
from trials.errors import LotusError
from trials.stage import Node, closure

FOLDER = "sweeps"
SINCE = f"{FOLDER}/since.json"


class PinError(LotusError):
    """What a sweep needs cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What one sweep needs.

    Attributes:
        run_id: of the sweep's own run in MLflow.
        tracking: where that is, without the password.
        keys: of all stages of all its trials.
        written: when, by the clock of who wrote it.
    """

    run_id: str
    sweep: str
    experiment: str
    tracking: str
    keys: tuple[str, ...]
    host: str
    written: float

    @property
    def path(self) -> str:
        """Its file in the store."""
        return pin_path(self.run_id)


def pin_path(run_id: str) -> str:
    """Where a sweep's pin is.

    Raises:
        PinError: that is no run id, and could lead out of the folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", run_id) or run_id == "since":
        raise PinError(f"{run_id[:60]!r} is not the id of an MLflow run")
    return f"{FOLDER}/{run_id}.json"


def pin(store: Store, plan: Plan, run_id: str) -> Pin:
    """Write what a sweep needs, trials that may yet belong to it included.

    Must be called before what the store holds is looked up: then `lotus gc` sees either the pin,
    or that nobody counts on what it has removed.
    """
    sweep = plan.sweep
    made = Pin(
        run_id=run_id,
        sweep=sweep.name,
        experiment=sweep.experiment_name,
        tracking=without_password(sweep.tracking.uri),
        keys=tuple(sorted(_keys(t.graph.final for t in (*plan.trials, *plan.early)))),
        host=host(),
        written=time.time(),
    )
    write(store.files, made)
    return made


def write(files: Files, made: Pin) -> None:
    """Put a pin into a store, in place of the sweep's earlier one."""
    if pinned_since(files) is None:
        files.write(SINCE, json.dumps({"since": made.written}).encode())
    values = asdict(made)
    text = json.dumps(values | {"check": _check(values)})
    files.write(made.path, text.encode())


def _keys(nodes: Iterable[Node[Any]]) -> set[str]:
    return {key_of(node) for final in nodes for node in closure(final)}


def pins(files: Files) -> list[Pin]:
    """The pins of all sweeps.

    Raises:
        PinError: one cannot be read, so that nobody knows what its sweep needs.
    """
    paths = [path for path in files.list(FOLDER) if path.endswith(".json") and path != SINCE]
    return [_pin(path, content) for path, content in files.read_all(sorted(paths)).items()]


def pinned_since(files: Files) -> float | None:
    """When the first sweep was pinned in this store; None = none ever was.

    Raises:
        PinError: it cannot be read.
    """
    try:
        return float(json.loads(files.read(SINCE))["since"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PinError(
            f"{SINCE} in the store is damaged ({error}): remove it, and run every sweep that you "
            "want to keep once more (nothing is computed again)"
        ) from None


def _pin(path: str, content: bytes) -> Pin:
    try:
        values = json.loads(content)
        if values.pop("check") != _check(values):
            raise ValueError("it does not fit its check")
        values["keys"] = tuple(values["keys"])
        made = Pin(**values)
        if made.path != path:
            raise ValueError("it stands under another name")
        return made
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, PinError) as error:
        raise PinError(
            f"{path} in the store is damaged ({error}), so what its sweep needs is unknown: run "
            "that sweep again, which writes it anew, or remove the file to give the sweep up"
        ) from None


def _check(values: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(values).encode()).hexdigest()
