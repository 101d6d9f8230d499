"""The size of a store, and what could be freed of it."""

import json
import os
import time
from pathlib import Path
from typing import Any

from orchestrator.commands import sizes, status
from orchestrator.commands.collecting import asker, collect
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.pins import pin
from orchestrator.planning.plan import plan
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import open_sweep


def test_the_size_of_a_store_is_shown_by_stage(tracked_trial: Any) -> None:
    size = sizes.store_size(tracked_trial.sweep.storage.path)
    assert size["bytes"] == tracked_trial.store.size_bytes() > 0
    assert sum(size["stages"].values()) == size["bytes"]
    assert {"dense", "finetune"} <= size["stages"].keys()
    words = sizes.describe_store(size)
    assert "MiB (" in words
    assert "finetune" in words
    json.dumps(size)


def test_what_gc_would_free_is_shown_where_somebody_knows(
    tracked_trial: Any, tracked: SweepConfig
) -> None:
    """The same as `lotus gc --dry-run` says, and as it then frees."""
    unknown = sizes.store_size(tracked_trial.sweep.storage.path)
    assert unknown["freeable_bytes"] is None
    assert "no sweep has said yet what it needs" in unknown["freeable_error"]
    assert "would free" not in sizes.describe_store(unknown)
    address = open_sweep(tracked)
    store = Store(tracked.storage.path)
    pin(store, plan(tracked), address.parent)
    store.files.write("objects/ab/x.safetensors", b"x" * 2**20)
    fresh = sizes.store_size(tracked.storage.path, tracked.tracking.uri)
    assert fresh["freeable_bytes"] == 0, "it is new"
    old = time.time() - 2 * 86400
    os.utime(Path(tracked.storage.path) / "objects/ab/x.safetensors", (old, old))
    size = sizes.store_size(tracked.storage.path, tracked.tracking.uri)
    assert size["freeable_bytes"] == 2**20
    assert sizes.describe_store(size).endswith("; `lotus gc` would free 1.0 MiB now")
    assert status.of_sweep(tracked)["store"] == size
    assert collect(store, asker([tracked.tracking.uri])).freed_bytes == 2**20
    assert sizes.store_size(tracked.storage.path)["freeable_bytes"] == 0


def test_what_nothing_names_is_unused(tracked: SweepConfig) -> None:
    Store(tracked.storage.path).files.write("objects/ab/x.safetensors", b"12345")
    size = sizes.store_size(tracked.storage.path)
    assert size["stages"] == {"unused": 5}


def test_a_store_that_cannot_be_read_is_said_so() -> None:
    size = sizes.store_size("nothing://me:hunter22@x")
    assert size["bytes"] is None
    assert "cannot be used" in sizes.describe_store(size)
    assert "hunter22" not in sizes.describe_store(size)
