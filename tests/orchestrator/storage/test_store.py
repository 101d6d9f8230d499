"""The store, on a folder, in memory and on a real S3 API: one suite for all."""

import hashlib
import json
import subprocess
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.storage.keys import canonical, key_of
from orchestrator.storage.store import Store, StoreUnusable, object_path
from trials.container import Raw
from trials.errors import LotusError
from trials.stage import STAGES, Load, Node, Source, StageConfig
from trials.stages.attention import PatchScores


class Setting(StageConfig):
    """Any setting."""

    number: int = 0


def node(number: int = 0) -> Node[PatchScores]:
    """A call whose result is small."""
    inputs = {"data": Source("data", "d")}
    return Node(STAGES["attention"], Setting(number=number), None, inputs, lambda: Load(1e6, 3.0))


def scores(value: float = 1.0) -> PatchScores:
    """A result."""
    return PatchScores(*(torch.full((2, 3), value + i) for i in range(3)))


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
    assert (entry.seconds, entry.device) == (1.5, "cpu")
    assert (entry.work_macs, entry.work_calls) == (1e6, 3.0)
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


def rewritten(store: Store, drop: tuple[str, ...] = (), **changes: Any) -> None:
    """Change the only index entry as another version or a fault would."""
    path = only(store, "index")
    values = json.loads(store.fs.cat_file(path)) | changes
    kept = {name: value for name, value in values.items() if name not in drop}
    store.fs.pipe_file(path, json.dumps(kept).encode())


def test_an_entry_from_a_later_version_is_read(store: Store) -> None:
    """It has a field more, and its check covers that."""
    store.put(node(), scores(), 1, "cpu")
    values = json.loads(store.fs.cat_file(only(store, "index"))) | {"new": 1}
    del values["check"]
    rewritten(store, new=1, check=hashlib.sha256(canonical(values).encode()).hexdigest())
    assert store.get(node()) is not None


def test_an_entry_from_before_there_was_a_check_is_read(store: Store) -> None:
    store.put(node(), scores(), 1, "cpu", computed_by="t")
    rewritten(store, drop=("check", "computed_by", "work_calls"))
    found = store.get(node())
    assert found is not None
    assert found[1].computed_by == ""
    assert found[1].work_calls is None, "an earlier version did not count them"


@pytest.mark.parametrize(
    "change",
    [{"seconds": 2.0}, {"version": 9}, {"computed_by": "u"}, {"host": "h"}, {"check": "0"}],
    ids=str,
)
def test_an_entry_that_was_changed_counts_as_not_computed(
    change: dict[str, Any], store: Store
) -> None:
    store.put(node(), scores(), 1.0, "cpu", computed_by="t")
    rewritten(store, **change)
    assert store.entry(node()) is None
    assert store.entries() == []


@pytest.mark.parametrize(
    "change",
    [{"seconds": "1"}, {"bytes": -1}, {"object": "../../x"}, {"versions": []}, {"created": None}],
    ids=str,
)
def test_an_entry_of_impossible_values_counts_as_not_computed(
    change: dict[str, Any], store: Store
) -> None:
    """Even where it has no check."""
    store.put(node(), scores(), 1.0, "cpu")
    rewritten(store, drop=("check",), **change)
    assert store.entry(node()) is None


def test_an_entry_under_another_key_counts_as_not_computed(store: Store) -> None:
    store.put(node(0), scores(), 1, "cpu")
    content = store.fs.cat_file(only(store, "index"))
    store.fs.pipe_file(f"{store.root}/index/attention/{key_of(node(1))}.json", content)
    assert store.get(node(1)) is None
    assert store.get(node(0)) is not None


def test_who_needed_a_result_is_kept(store: Store) -> None:
    store.put(node(), scores(), 1, "cpu", computed_by="trial")
    entry = store.entry(node())
    assert entry is not None
    assert entry.computed_by == "trial"


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
        if store.local:  # an object store takes all or nothing
            real(path, value[: len(value) // 2], **more)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.fs, "pipe_file", full)
    with pytest.raises(StoreUnusable, match="is full: free space or run `lotus gc`"):
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


def test_a_stored_result_forgets_its_unfinished_state(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.storage.snapshots.SHARE", 1e9)
    store.snapshots(node()).save({"w": torch.ones(1)}, {})
    store.snapshots(node(1)).save({"w": torch.ones(1)}, {})
    store.put(node(), scores(), 1, "cpu")
    assert store.snapshots(node()).load() is None
    assert store.snapshots(node(1)).load() is not None


def test_an_unknown_kind_of_store_is_refused_in_words() -> None:
    with pytest.raises(LotusError, match=r"storage\.path = nothing://x cannot be used"):
        Store("nothing://x")


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnusable, match=r"file/store, .* Not a directory"):
        Store(str(tmp_path / "file" / "store")).writable()


def test_the_kinds_really_are_different(tmp_path: Path, s3: str) -> None:
    assert Store(str(tmp_path)).local
    assert Store(f"file://{tmp_path}").local
    assert not Store("memory://x").local
    assert not Store(s3).local
    assert {type(Store(url).fs).__name__ for url in (str(tmp_path), "memory://x", s3)} == {
        "LocalFileSystem",
        "MemoryFileSystem",
        "S3FileSystem",
    }


def test_a_damaged_object_in_a_read_only_store_is_read_around(
    mounted: Callable[..., Path],
) -> None:
    """It cannot be set aside; it counts as not computed, and storing it again fails in words."""
    root = mounted("size=1m")
    store = Store(str(root / "store"))
    store.put(node(0), scores(0), 1, "cpu")
    store.put(node(1), scores(1), 1, "cpu")
    broken = store.entry(node(0))
    assert broken is not None
    store.files.write(object_path(broken.object), b"damaged")
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    with pytest.warns(UserWarning, match="it stays where it is .*read-only"):
        assert store.get(node(0)) is None
    assert store.get(node(1)) is not None
    with pytest.raises(StoreUnusable, match="is read-only"):
        store.put(node(0), scores(0), 1, "cpu")


def test_a_result_for_which_there_is_no_room_is_said_and_leaves_the_others(
    mounted: Callable[..., Path],
) -> None:
    store = Store(str(mounted("size=1m") / "store"))
    store.put(node(0), scores(0), 1, "cpu")
    large = PatchScores(*(torch.rand(500, 500) for _ in range(3)))
    with pytest.raises(StoreUnusable, match="is full: free space or run `lotus gc`"):
        store.put(node(1), large, 1, "cpu")
    assert store.keys() == {key_of(node(0))}
    assert store.get(node(0)) is not None
    assert not [name for name in files(store) if name.endswith(".part")]


def test_of_each_stage_the_newest_entries_alone_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [store.put(node(number), scores(number), 1.0, "cpu").key for number in range(3)]
    assert {entry.key for entry in store.newest(10)} == set(keys)
    read: list[str] = []
    real = store.files.read_all
    monkeypatch.setattr(store.files, "read_all", lambda paths: read.extend(paths) or real(paths))
    (newest,) = store.newest(1)
    assert len(read) == 1
    if store.local:  # elsewhere files may be equally old
        assert newest.key == keys[-1]


def test_a_result_is_read_without_torch(store: Store) -> None:
    store.put(node(), scores(2.0), 1.0, "cpu")
    found = store.get(node(), raw=True)
    assert found is not None
    raw: Any = found[0].train
    assert isinstance(raw, Raw)
    assert (raw.kind, raw.shape) == ("F32", (2, 3))
    assert raw.data == scores(2.0).train.numpy().tobytes()
