"""The unfinished state of a training: kept, replaced, refused when it would not go on as before."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from orchestrator.storage import files, snapshots
from orchestrator.storage.files import Files, StoreUnusable
from orchestrator.storage.snapshots import SHARE, Pace, StoredSnapshots
from orchestrator.storage.store import Store
from trials.container import digest_of, header_of


@pytest.fixture(autouse=True)
def _own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PACES", {})


@pytest.fixture
def freely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving takes as much time as it likes."""
    monkeypatch.setattr(snapshots, "SHARE", 1e9)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """An empty store in a folder: time does not depend on where files are."""
    return Store(str(tmp_path / "store"))


def state(store: Store) -> StoredSnapshots:
    """Of some training."""
    return StoredSnapshots(store.files, "unfinished/a.safetensors")


@pytest.mark.usefixtures("freely")
def test_an_unfinished_state_is_kept_replaced_and_forgotten(store: Store) -> None:
    first = state(store)
    assert first.load() is None
    first.clear()
    first.save({"w": torch.arange(3.0)}, {"epoch": 1, "history": [[0.5, None]]})
    later = state(store)
    later.save({"w": torch.arange(4.0).to(torch.bfloat16)}, {"epoch": 2})
    found = StoredSnapshots(Files(store.url), first.path).load()
    assert found is not None
    assert torch.equal(found[0]["w"], torch.arange(4.0).to(torch.bfloat16))
    assert found[1] == {"epoch": 2}
    assert store.files.list("unfinished").keys() == {first.path}
    assert store.keys() == set()
    later.clear()
    assert first.load() is None


@pytest.mark.usefixtures("freely")
@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"\0" * 8])
def test_a_damaged_unfinished_state_warns_and_starts_over(content: bytes, store: Store) -> None:
    store.files.write(state(store).path, content)
    with pytest.warns(UserWarning, match="starts over"):
        assert state(store).load() is None


@pytest.mark.usefixtures("freely")
def test_a_state_of_other_versions_is_refused_and_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "versions", lambda: dict.fromkeys(snapshots.DECISIVE, "0.1"))
        state(store).save({"w": torch.ones(1)}, {})
    with pytest.warns(UserWarning, match=r"starts over .*other versions.* torch 0\.1, now "):
        assert state(store).load() is None


@pytest.mark.usefixtures("freely")
@pytest.mark.parametrize("change", ["a weight", "a value", "no digest"])
def test_a_state_that_was_changed_is_refused(change: str, store: Store) -> None:
    state(store).save({"w": torch.ones(2)}, {"done": 1})
    content = store.files.read(state(store).path)
    header, tensors = header_of(content), load(content)
    if change == "a weight":
        tensors["w"][0] = 2
    if change == "a value":
        kept = json.loads(header[snapshots.FORMAT])
        header[snapshots.FORMAT] = json.dumps(kept | {"values": {"done": 2}})
    if change == "no digest":
        del header["sha256"]
    store.files.write(state(store).path, save(tensors, metadata=header))
    with pytest.warns(UserWarning, match="starts over"):
        assert state(store).load() is None


class Clock:
    """Moves by work and by saving only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.now, self.saving = 1000.0, 0.0
        self.saved: list[float] = []
        self.per_save: Callable[[int], float] = lambda count: 1.0
        # Not of the module `time` itself: event loops and time-outs live by it.
        monkeypatch.setattr(snapshots, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(store.files, "write", self.write)

    def write(self, path: str, content: bytes) -> None:
        seconds = self.per_save(len(content))
        self.now += seconds
        self.saving += seconds
        self.saved.append(self.now)


@pytest.mark.parametrize("step_s", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("save_s", [0.001, 0.2, 5.0])
@pytest.mark.parametrize("size", [1, 64])
def test_saving_takes_at_most_its_share_at_any_moment_once_it_is_known(
    folder: Store, monkeypatch: pytest.MonkeyPatch, step_s: float, save_s: float, size: int
) -> None:
    monkeypatch.setattr(snapshots, "LARGE_BYTES", 64)
    clock = Clock(monkeypatch, folder)
    clock.per_save = lambda count: save_s
    tensors = {"w": torch.zeros(size, dtype=torch.uint8)}
    first = state(folder)
    for _ in range(500):
        clock.now += step_s
        first.save(tensors, {})
    begun, spent = clock.now, clock.saving
    assert spent <= max(SHARE * (begun - 1000), save_s)  # what the first costs is a guess
    second = state(folder)
    for _ in range(500):
        clock.now += step_s
        second.save(tensors, {})
        assert clock.saving - spent <= SHARE * (clock.now - begun) + 1e-9
    expected = SHARE * (clock.now - begun) / save_s
    assert clock.saving - spent >= 0.9 * save_s * min(int(expected), 475) - save_s


def test_a_training_that_is_over_at_once_saves_nothing(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, folder)
    begun = state(folder)
    clock.now += 0.01
    begun.save({"w": torch.ones(1)}, {})
    assert clock.saved == []


def test_a_large_state_waits_longer_than_a_small_one() -> None:
    pace = Pace()
    assert pace.expected_s(10**9) > 100 * pace.expected_s(10)
    pace.learn(10**9, 100.0)
    assert pace.expected_s(10**9) == 100.0
    pace.learn(10, 0.5)
    assert pace.expected_s(10) == 0.5
    assert pace.expected_s(10**9) == 100.0


def test_the_wall_clock_is_not_looked_at(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may jump; here there is none."""
    clock = Clock(monkeypatch, folder)
    begun = state(folder)
    for step in range(1000):
        clock.now += 1.0
        begun.save({"w": torch.ones(1)}, {"step": step})
    assert 10 <= len(clock.saved) <= 21


@pytest.mark.usefixtures("freely")
def test_a_store_that_is_away_costs_a_state_and_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    monkeypatch.setattr(files, "PAUSES_S", ())

    def away(*_: Any, **__: Any) -> None:
        raise OSError(5, "cable")

    monkeypatch.setattr(store.fs, "pipe_file", away)
    with pytest.warns(UserWarning, match="is not saved this time"):
        state(store).save({"w": torch.ones(1)}, {})


@pytest.mark.usefixtures("freely")
def test_a_full_store_ends_a_training_early_instead_of_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.fs, "pipe_file", full)
    with pytest.raises(StoreUnusable):
        state(store).save({"w": torch.ones(1)}, {})


@pytest.mark.usefixtures("freely")
def test_a_sound_state_is_read_without_a_warning(store: Store) -> None:
    tensors = {"model.w": torch.randn(3, 4).T, "optimizer.0.step": torch.tensor(3.0)}
    state(store).save(tensors, {"done": 3, "history": []})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = state(store).load()
    assert found is not None
    assert all(torch.equal(found[0][name], tensor) for name, tensor in tensors.items())
    assert digest_of({}, found[0]) == digest_of({}, tensors)
