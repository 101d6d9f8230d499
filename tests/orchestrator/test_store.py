"""The store, on a folder and on an object store: one suite for both."""

import json
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from orchestrator.keys import key_of
from orchestrator.store import SNAPSHOT_SHARE, Store
from trials.errors import LotusError
from trials.stage import STAGES, Node, Source, StageConfig
from trials.stages.attention import PatchScores


class Setting(StageConfig):
    """Any setting."""

    number: int = 0


def node(number: int = 0) -> Node[PatchScores]:
    """A call whose result is small."""
    inputs = {"data": Source("data", "d")}
    return Node(STAGES["attention"], Setting(number=number), None, inputs, lambda: 1e6)


def scores(value: float = 1.0) -> PatchScores:
    """A result."""
    return PatchScores(*(torch.full((2, 3), value + i) for i in range(3)))


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, of either kind."""
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    made = Store(url)
    yield made
    if request.param == "memory" and made.fs.exists(made.root):
        made.fs.rm(made.root, recursive=True)


def files(store: Store, folder: str = "") -> list[str]:
    """Everything in the store, relative to it."""
    root = f"{store.root}/{folder}".rstrip("/")
    found = store.fs.find(root) if store.fs.exists(root) else []
    return sorted(path.split(f"{store.root.strip('/')}/", 1)[1] for path in found)


def only(store: Store, folder: str) -> str:
    """The full path of the only file in a folder."""
    (found,) = store.fs.find(f"{store.root}/{folder}")
    return str(found)


def test_what_is_put_is_got(store: Store) -> None:
    assert store.get(node()) is None
    entry = store.put(node(), scores(), 1.5, "cpu")
    found = store.get(node())
    assert found is not None
    result, again = found
    assert torch.equal(result.test, scores().test)
    assert again == entry == store.entry(node())
    assert (entry.seconds, entry.device, entry.work_macs) == (1.5, "cpu", 1e6)
    assert (entry.stage, entry.version, entry.key) == ("attention", 1, key_of(node()))
    assert entry.versions["torch"]
    assert entry.host


def test_an_empty_store_answers(store: Store) -> None:
    assert store.keys() == set()
    assert store.entries() == []
    assert store.size_bytes() == 0
    assert store.entry(node()) is None


def test_files_stand_where_the_module_says(store: Store) -> None:
    entry = store.put(node(), scores(), 1, "cpu")
    digest = entry.object
    assert files(store) == [
        f"index/attention/{key_of(node())}.json",
        f"objects/{digest[:2]}/{digest}.safetensors",
    ]


def test_keys_entries_and_size_count_everything(store: Store) -> None:
    made = [store.put(node(i), scores(i), 1, "cpu") for i in range(5)]
    assert store.keys() == {entry.key for entry in made}
    by_key = {entry.key: entry for entry in store.entries()}
    assert by_key == {entry.key: entry for entry in made}
    assert store.size_bytes() == sum(entry.bytes for entry in made)


def test_equal_results_are_stored_once(store: Store) -> None:
    a, b = (store.put(node(i), scores(), 1, "cpu") for i in range(2))
    assert a.object == b.object
    assert len(files(store, "objects")) == 1
    assert len(store.keys()) == 2


def test_another_store_object_sees_the_same(store: Store) -> None:
    store.put(node(), scores(), 1, "cpu")
    assert Store(store.url).get(node()) is not None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    "truncated": lambda b: b[: len(b) // 2],
    "emptied": lambda b: b"",
    "another file": lambda b: b"{}",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_warns_is_set_aside_and_can_be_made_again(
    damage: str, store: Store
) -> None:
    store.put(node(), scores(), 1, "cpu")
    path = only(store, "objects")
    broken = DAMAGES[damage](store.fs.cat_file(path))
    store.fs.pipe_file(path, broken)
    with pytest.warns(UserWarning, match="is set aside and computed again"):
        assert store.get(node()) is None
    assert store.fs.cat_file(only(store, "damaged")) == broken
    assert files(store, "objects") == files(store, "index") == []
    store.put(node(), scores(), 1, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.get(node()) is not None


def test_a_missing_object_warns_and_counts_as_not_computed(store: Store) -> None:
    store.put(node(), scores(), 1, "cpu")
    store.fs.rm_file(only(store, "objects"))
    with pytest.warns(UserWarning, match="attention"):
        assert store.get(node()) is None
    assert store.keys() == set()
    assert store.get(node()) is None


def test_one_damaged_object_leaves_the_others(store: Store) -> None:
    for i in range(3):
        store.put(node(i), scores(i), 1, "cpu")
    broken = store.entry(node(1))
    assert broken is not None
    store.fs.pipe_file(f"{store.root}/objects/{broken.object[:2]}/{broken.object}.safetensors", b"")
    with pytest.warns(UserWarning, match="unusable"):
        assert [store.get(node(i)) is None for i in range(3)] == [False, True, False]


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b"{}", b"\xff\xfe", b'{"key": 1}'])
def test_a_damaged_index_entry_counts_as_not_computed(content: bytes, store: Store) -> None:
    store.put(node(0), scores(), 1, "cpu")
    store.put(node(1), scores(), 1, "cpu")
    store.fs.pipe_file(f"{store.root}/index/attention/{key_of(node(0))}.json", content)
    assert store.entry(node(0)) is None
    assert store.get(node(0)) is None
    assert [entry.key for entry in store.entries()] == [key_of(node(1))]
    store.put(node(0), scores(), 1, "cpu")
    assert store.get(node(0)) is not None


def test_an_entry_from_a_later_version_is_read(store: Store) -> None:
    store.put(node(), scores(), 1, "cpu")
    path = only(store, "index")
    store.fs.pipe_file(path, json.dumps(json.loads(store.fs.cat_file(path)) | {"new": 1}).encode())
    assert store.get(node()) is not None


def test_the_later_of_two_writers_counts(store: Store) -> None:
    store.put(node(), scores(1), 1, "cpu")
    later = Store(store.url).put(node(), scores(2), 9, "cpu")
    found = store.get(node())
    assert found is not None
    assert found[1] == later
    assert torch.equal(found[0].train, scores(2).train)


def test_many_writers_at_once_leave_one_sound_result(store: Store) -> None:
    problems: list[BaseException] = []

    def write(number: int) -> None:
        try:
            own = Store(store.url)
            for _ in range(10):
                own.put(node(), scores(number % 2), number, "cpu")
                found = own.get(node())
                assert found is not None
                assert found[0].train[0, 0] in (0, 1)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []
    assert len(files(store, "index")) == 1
    assert len(files(store, "objects")) == 2
    assert not [name for name in files(store) if ".part" in name]


def test_a_writer_that_dies_leaves_no_part_and_no_entry(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.fs.pipe_file

    def full(path: str, value: bytes, **more: Any) -> None:
        real(path, value[: len(value) // 2], **more)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.fs, "pipe_file", full)
    with pytest.raises(OSError, match="No space"):
        store.put(node(), scores(), 1, "cpu")
    monkeypatch.undo()
    assert store.keys() == set()
    assert not [name for name in files(store) if ".part" in name]
    assert store.get(node()) is None


def test_a_foreign_file_in_the_index_is_no_key(store: Store) -> None:
    store.put(node(), scores(), 1, "cpu")
    store.fs.pipe_file(f"{store.root}/index/attention/{key_of(node(1))}.json.abc.part", b"{")
    assert store.keys() == {key_of(node())}


def test_the_probe_leaves_nothing(store: Store) -> None:
    store.writable()
    assert files(store) == []


def test_an_unfinished_state_is_kept_replaced_and_forgotten(store: Store) -> None:
    snapshots = store.snapshots(node())
    assert snapshots.load() is None
    snapshots.clear()
    snapshots.save({"w": torch.arange(3.0)}, {"epoch": 1, "history": [[0.5, None]]})
    later = store.snapshots(node())
    later.save({"w": torch.arange(4.0)}, {"epoch": 2})
    found = Store(store.url).snapshots(node()).load()
    assert found is not None
    assert torch.equal(found[0]["w"], torch.arange(4.0))
    assert found[1] == {"epoch": 2}
    assert len(files(store, "unfinished")) == 1
    assert store.keys() == set()
    assert store.snapshots(node(1)).load() is None
    later.clear()
    assert store.snapshots(node()).load() is None


def test_a_stored_result_forgets_its_unfinished_state(store: Store) -> None:
    store.snapshots(node()).save({"w": torch.ones(1)}, {})
    store.snapshots(node(1)).save({"w": torch.ones(1)}, {})
    store.put(node(), scores(), 1, "cpu")
    assert store.snapshots(node()).load() is None
    assert store.snapshots(node(1)).load() is not None


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"\0" * 8])
def test_a_damaged_unfinished_state_warns_and_starts_over(content: bytes, store: Store) -> None:
    snapshots = store.snapshots(node())
    snapshots.save({"w": torch.ones(1)}, {})
    store.fs.pipe_file(snapshots.path, content)
    with pytest.warns(UserWarning, match="starts over"):
        assert snapshots.load() is None


def test_saving_takes_a_bounded_share_of_the_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only moves by work (1 s a step) and by saving (1 s each)."""
    clock = [1000.0]
    saved: list[int] = []
    monkeypatch.setattr("orchestrator.store.time.monotonic", lambda: clock[0])

    def write(path: str, content: bytes) -> None:
        clock[0] += 1.0
        saved.append(len(content))

    monkeypatch.setattr(store, "_write", write)
    snapshots = store.snapshots(node())
    for step in range(1000):
        clock[0] += 1.0
        snapshots.save({"w": torch.ones(1)}, {"step": step})
    assert 1000 * SNAPSHOT_SHARE / 2 <= len(saved) <= 1000 * SNAPSHOT_SHARE + 1


def test_the_first_state_is_saved_at_once(store: Store) -> None:
    snapshots = store.snapshots(node())
    snapshots.save({"w": torch.ones(1)}, {})
    assert snapshots.load() is not None


def test_an_unknown_kind_of_store_is_refused_in_words() -> None:
    with pytest.raises(LotusError, match=r"storage\.path = nothing://x cannot be used"):
        Store("nothing://x")


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        Store(str(tmp_path / "file" / "store")).writable()


def test_both_kinds_really_are_different(tmp_path: Path) -> None:
    assert Store(str(tmp_path)).local
    assert Store(f"file://{tmp_path}").local
    assert not Store("memory://x").local
    assert fsspec.filesystem("memory").protocol == "memory"
