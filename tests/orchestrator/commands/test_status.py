"""How sweeps stand."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import status
from orchestrator.commands.collecting import asker, collect
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.pins import pin
from orchestrator.planning.plan import plan
from orchestrator.selection import select
from orchestrator.storage.store import Store
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import Tracker, open_sweep
from trials.errors import LotusError


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """finished, running, failed, missing, planned."""
    return tuple(row[n] for n in ("finished", "running", "failed", "missing", "planned"))


@pytest.fixture
def four(tracked: SweepConfig) -> SweepConfig:
    """A sweep of four trials."""
    raw = tracked.model_dump()
    raw["search"] = [{"seed": [0, 1, 2, 3]}]
    return SweepConfig.model_validate(raw)


def test_a_sweep_that_never_ran_misses_everything(four: SweepConfig) -> None:
    assert counts(status.of_sweep(four)) == (0, 0, 0, 4, 4)
    with pytest.raises(LotusError, match="has not run yet"):
        status.tracked_results(four)


def test_every_state_is_counted_and_errors_are_named(four: SweepConfig) -> None:
    address = open_sweep(four)
    tracker = Tracker(address)
    trials = plan(four).trials
    for trial, state in zip(trials, ("FINISHED", "FAILED", "RUNNING"), strict=False):
        log = tracker.start(Identity(trial.key, "trial", trial.name, {"lotus.arm": "lotus"}))
        if state == "FAILED":
            log.flush(tags={"lotus.error": "ValueError: no"})
        if state != "RUNNING":
            log.finish(state)
    tracker.start(Identity("s" * 64, "stage", "dense")).finish()
    tracker.start(Identity("old", "trial", "old", {"lotus.superseded": "true"})).finish()
    row = status.of_sweep(four)
    assert counts(row) == (1, 1, 1, 1, 4)
    assert row["errors"] == {trials[1].name: "ValueError: no"}
    storage = four.storage.path
    tracker.sweep_log().flush(tags={"lotus.trials_planned": "4", "lotus.storage": storage})
    (listed,) = (r for r in status.all_sweeps(four.tracking.uri) if counts(r) == (1, 1, 1, 1, 4))
    assert len(listed.pop("now")) == 1
    assert listed | {"waiting": 0} == row
    json.dumps(row)


def test_a_selection_is_plain_json_and_words(tracked_trial: Any) -> None:
    seen = status.tracked_results(tracked_trial.sweep)
    found = select(seen.trials, 0.01, "first_violation", seen.axes, seen.curve, seen.outcomes(0.01))
    raw = json.loads(json.dumps(status.selection_json(found)))
    best = raw["recommended"]
    assert best["trial_key"] == tracked_trial.trial.key
    assert raw["essential_sparsity"].keys() >= {"value", "low", "high", "scope", "bracket",
                                                "detector", "tolerance"}  # fmt: skip
    assert raw["answer"].keys() == {"essential", "recommended", "saves", "costs", "surer"}
    words = status.describe_selection(found)
    name = "lotus-s0.30-d0.10-f0.10-seed0"
    assert words.splitlines() == [
        *raw["answer"].values(), best["reason"], f"Its model: {name}, its only seed.",
    ]  # fmt: skip
    assert "essential sparsity is " in words
    assert "LOTUS (one-shot level 30 %, " in words
    assert "other seeds too few seeds (1) to say" in words
    assert not re.search(r"\b0\.\d+(?!\d*(×| point))", words), "shares are in percent"


def test_an_empty_selection_says_so(tiny: Callable[..., SweepConfig]) -> None:
    from orchestrator.reading.tables import results

    found = select(results(tiny()), 0.01)
    raw = status.selection_json(found)
    assert (raw["essential_sparsity"], raw["recommended"]) == (None, None)
    assert [name for name, said in raw["answer"].items() if said] == ["essential"]
    assert status.describe_selection(found).splitlines() == [
        "The essential sparsity was not measured.",
        "Nothing is recommended: no trial of a LOTUS arm has finished.",
    ]


def test_the_size_of_a_store_is_shown_by_stage(tracked_trial: Any) -> None:
    size = status.store_size(tracked_trial.sweep.storage.path)
    assert size["bytes"] == tracked_trial.store.size_bytes() > 0
    assert sum(size["stages"].values()) == size["bytes"]
    assert {"dense", "finetune"} <= size["stages"].keys()
    words = status.describe_store(size)
    assert "MiB (" in words
    assert "finetune" in words
    json.dumps(size)


def test_what_gc_would_free_is_shown_where_somebody_knows(
    tracked_trial: Any, tracked: SweepConfig
) -> None:
    """The same as `lotus gc --dry-run` says, and as it then frees."""
    unknown = status.store_size(tracked_trial.sweep.storage.path)
    assert unknown["freeable_bytes"] is None
    assert "no sweep has said yet what it needs" in unknown["freeable_error"]
    assert "would free" not in status.describe_store(unknown)
    address = open_sweep(tracked)
    store = Store(tracked.storage.path)
    pin(store, plan(tracked), address.parent)
    store.files.write("objects/ab/x.safetensors", b"x" * 2**20)
    fresh = status.store_size(tracked.storage.path, tracked.tracking.uri)
    assert fresh["freeable_bytes"] == 0, "it is new"
    old = time.time() - 2 * 86400
    os.utime(Path(tracked.storage.path) / "objects/ab/x.safetensors", (old, old))
    size = status.store_size(tracked.storage.path, tracked.tracking.uri)
    assert size["freeable_bytes"] == 2**20
    assert status.describe_store(size).endswith("; `lotus gc` would free 1.0 MiB now")
    assert status.of_sweep(tracked)["store"] == size
    assert collect(store, asker([tracked.tracking.uri])).freed_bytes == 2**20
    assert status.store_size(tracked.storage.path)["freeable_bytes"] == 0


def test_what_nothing_names_is_unused(tracked: SweepConfig) -> None:
    Store(tracked.storage.path).files.write("objects/ab/x.safetensors", b"12345")
    size = status.store_size(tracked.storage.path)
    assert size["stages"] == {"unused": 5}


def test_a_store_that_cannot_be_read_is_said_so() -> None:
    size = status.store_size("nothing://me:hunter22@x")
    assert size["bytes"] is None
    assert "cannot be used" in status.describe_store(size)
    assert "hunter22" not in status.describe_store(size)
