"""What a node keeps of a store elsewhere saves reading it, and can never change a result."""

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.storage.files import Files
from orchestrator.storage.nearby import LEAST_BYTES, Nearby, on_this_node
from orchestrator.storage.store import Store, object_path
from tests.orchestrator.conftest import Kept
from trials.stage import STAGES, Node, Source, StageConfig
from trials.stages.attention import PatchScores

MIB = 2**20


class Setting(StageConfig):
    """Any setting."""

    number: int = 0


def node(number: int = 0) -> Node[PatchScores]:
    """A stage call."""
    return Node(STAGES["attention"], Setting(number=number), None, {"data": Source("data", "d")})


def scores(value: float, rows: int = MIB // 12 + 1) -> PatchScores:
    """A result of a MiB and a little."""
    return PatchScores(*(torch.full((rows, 1), value) for _ in range(3)))


def blob(size: int, fill: int = 0) -> tuple[str, bytes]:
    """An object: its digest and its bytes."""
    content = bytes([fill]) * size
    return hashlib.sha256(content).hexdigest(), content


@pytest.fixture
def near(tmp_path: Path) -> Nearby:
    """An empty place of ten MiB."""
    return Nearby(tmp_path / "near", 10 * MIB)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read from a store while a test runs."""
    found: list[str] = []
    real = Files.read

    def read(self: Files, path: str) -> bytes:
        found.append(path)
        return real(self, path)

    monkeypatch.setattr(Files, "read", read)
    return found


def test_an_object_is_fetched_once_for_all_processes_of_a_node(
    s3: str, near: Nearby, reads: list[str], kept: Kept
) -> None:
    entry = Store(s3).put(node(), scores(1.0), 1.0, "cpu")
    one, other = Store(s3, near), Store(s3, near)
    for store in (one, other, one):
        found = store.get(node())
        assert found is not None
        assert torch.equal(found[0].test, scores(1.0).test)
        assert found[1] == entry
    assert reads.count(object_path(entry.object)) == 1
    taken = [value for name, value, labels in kept.taken if labels.get("operation") == "near"]
    assert sum(taken) == 2 * entry.bytes


def test_a_store_that_is_a_folder_keeps_nothing_beside_it(tmp_path: Path, near: Nearby) -> None:
    store = Store(str(tmp_path / "store"), near)
    store.put(node(), scores(1.0), 1.0, "cpu")
    assert store.get(node()) is not None
    assert not near.folder.exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b"another object"),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["other", "cut", "empty", "folder"],
)
def test_what_was_changed_there_is_fetched_again(
    s3: str, near: Nearby, reads: list[str], harm: Callable[[Path], object]
) -> None:
    store = Store(s3, near)
    entry = store.put(node(), scores(1.0), 1.0, "cpu")
    store.get(node())
    harm(near.folder / entry.object)
    found = store.get(node())
    assert found is not None
    assert torch.equal(found[0].test, scores(1.0).test)
    assert reads.count(object_path(entry.object)) == 2


def test_what_the_store_has_damaged_is_not_kept(s3: str, near: Nearby) -> None:
    store = Store(s3, near)
    entry = store.put(node(), scores(1.0), 1.0, "cpu")
    store.files.write(object_path(entry.object), b"x" * 2 * MIB)
    with pytest.warns(UserWarning, match="set aside and computed again"):
        assert store.get(node()) is None
    assert near.get(entry.object) is None


def test_the_one_not_read_for_longest_makes_room(near: Nearby) -> None:
    objects = [blob(3 * MIB, fill) for fill in range(4)]
    for age, (digest, content) in enumerate(objects[:3]):
        near.put(digest, content)
        os.utime(near.folder / digest, (age, age))
    assert near.get(objects[0][0]) == objects[0][1]  # now the newest
    near.put(*objects[3])
    assert [near.get(digest) is not None for digest, _ in objects] == [True, False, True, True]


def test_what_fits_only_alone_removes_the_rest_and_what_never_fits_removes_nothing(
    near: Nearby,
) -> None:
    small, whole, large = blob(MIB), blob(10 * MIB), blob(10 * MIB + 1)
    near.put(*small)
    near.put(*large)
    assert [path.name for path in near.folder.iterdir()] == [small[0]]
    near.put(*whole)
    assert [path.name for path in near.folder.iterdir()] == [whole[0]]


def test_small_objects_are_not_kept(near: Nearby) -> None:
    near.put(*blob(LEAST_BYTES - 1))
    assert near.get(blob(LEAST_BYTES - 1)[0]) is None


def test_no_more_than_half_of_a_disk_is_taken(mounted: Callable[..., Path]) -> None:
    near = Nearby(mounted("size=16m") / "near", 100 * MIB)
    for fill in range(12):
        near.put(*blob(MIB, fill))
    taken = sum(path.stat().st_size for path in near.folder.iterdir())
    assert 6 * MIB <= taken <= 8 * MIB


def test_a_disk_that_cannot_be_written_costs_nothing_else(
    near: Nearby, mounted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = mounted("size=16m")
    closed = Nearby(place / "near", 100 * MIB)
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    closed.put(*blob(MIB))
    assert closed.get(blob(MIB)[0]) is None

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    near.put(*blob(MIB))
    assert list(near.folder.iterdir()) == []


def test_a_node_without_a_disk_for_it_or_without_wish_keeps_nothing(
    tmp_path: Path, mounted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = on_this_node(MIB)
    assert found == Nearby(tmp_path / "lotus-sweep" / "objects", MIB)
    assert on_this_node(0) is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(mounted("size=16m")))
    assert on_this_node(MIB) is None
