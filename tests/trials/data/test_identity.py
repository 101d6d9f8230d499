"""The digest of a folder, and the index that makes it cheap."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from trials.data.identity import digest_of, walk
from trials.errors import DataError

pytestmark = pytest.mark.usefixtures("settled")


def digest(root: Path) -> str:
    return digest_of(walk(root, lambda name: name.endswith(".x")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five files in three folders, and some that do not count."""
    folder = tmp_path / "root"
    for name in ("a/1.x", "a/2.x", "b/1.x", "b/c/1.x", "0.x", "a/note.txt", ".hidden/1.x"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_files_are_found_below_hidden_ones_and_others_left_out(root: Path) -> None:
    found = [
        path for folder in walk(root, lambda name: name.endswith(".x")) for path in folder.paths()
    ]
    assert sorted(found) == ["0.x", "a/1.x", "a/2.x", "b/1.x", "b/c/1.x"]


def test_the_digest_is_that_of_sorted_paths_and_contents(root: Path) -> None:
    import hashlib

    total = hashlib.sha256()
    for folder in ("", "a", "b", "b/c"):
        for path in sorted(root.joinpath(folder).glob("*.x")):
            total.update(str(path.relative_to(root)).encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    assert digest(root) == total.hexdigest()


def test_a_touched_file_is_read_again_and_is_the_same_data(root: Path, hashed: list[str]) -> None:
    before = digest(root)
    hashed.clear()
    os.utime(root / "a/1.x", (1, 1))
    assert digest(root) == before
    assert hashed == [str(root / "a/1.x")]


def test_a_replaced_file_of_the_same_size_and_time_is_noticed(
    root: Path, hashed: list[str]
) -> None:
    before = digest(root)
    hashed.clear()
    path = root / "a/1.x"
    at = path.stat()
    other = root / "a/other"
    other.write_text("a/9.x")
    os.utime(other, ns=(at.st_atime_ns, at.st_mtime_ns))
    os.replace(other, path)
    assert path.stat().st_mtime_ns == at.st_mtime_ns
    assert path.stat().st_size == at.st_size
    assert digest(root) != before
    assert hashed == [str(path)]


def test_a_file_written_over_in_place_with_its_old_time_is_noticed(root: Path) -> None:
    """As `rsync --inplace --times` does: size, time and inode stay."""
    before = digest(root)
    path = root / "a/1.x"
    at = path.stat()
    path.write_text("a/9.x")
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (at.st_ino, at.st_mtime_ns)
    assert digest(root) != before


def test_a_renamed_file_is_other_data_and_back_the_same(root: Path) -> None:
    before = digest(root)
    (root / "a/1.x").rename(root / "a/3.x")
    assert digest(root) != before
    (root / "a/3.x").rename(root / "a/1.x")
    assert digest(root) == before


def test_two_files_that_swap_their_contents_are_other_data(root: Path) -> None:
    before = digest(root)
    (root / "a/1.x").rename(root / "t")
    (root / "a/2.x").rename(root / "a/1.x")
    (root / "t").rename(root / "a/2.x")
    assert digest(root) != before


def test_a_file_that_changed_just_now_is_not_trusted(
    root: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could change again within one tick of the file system's clock."""
    monkeypatch.setattr("trials.data.identity.FRESH_NS", 3_600 * 10**9)
    digest(root)
    hashed.clear()
    digest(root)
    assert len(hashed) == 5


@pytest.mark.parametrize("damage", ["absent", "no database", "cut", "row", "not writable"])
def test_the_index_is_only_a_cache(root: Path, cache: Path, hashed: list[str], damage: str) -> None:
    before, index = digest(root), cache / "files.sqlite"
    assert index.exists()
    hashed.clear()
    if damage == "absent":
        index.unlink()
    elif damage == "no database":
        index.write_bytes(b"this is not a database at all, but long enough to be one" * 100)
    elif damage == "cut":
        index.write_bytes(index.read_bytes()[:5000])
    elif damage == "row":
        with sqlite3.connect(index) as database:
            database.execute("UPDATE folders SET digests = zeroblob(length(digests))")
        database.close()
    else:
        for path in cache.iterdir():
            path.unlink()
        index.mkdir()
    assert digest(root) == before
    assert len(hashed) == 5
    if damage != "not writable":
        hashed.clear()
        assert digest(root) == before
        assert not hashed, "it is made anew"


def test_several_writers_do_not_break_it(root: Path, hashed: list[str]) -> None:
    expected, found = digest(root), []
    threads = [
        threading.Thread(target=lambda: found.extend(digest(root) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for i in range(20):
        os.utime(root / "a/2.x", (i, i))
    for thread in threads:
        thread.join()
    assert found == [expected] * 80
    hashed.clear()
    assert digest(root) == expected


def test_links_are_followed_and_circles_refused(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert digest(linked) == digest(root)
    (root / "a/again").symlink_to(root)
    with pytest.raises(DataError, match="is a link to a folder that it lies in: remove the link"):
        digest(root)


def test_a_link_to_nothing_is_named(root: Path) -> None:
    (root / "a/lost.x").symlink_to(root / "nowhere")
    with pytest.raises(DataError, match=r"lost\.x cannot be read: No such file"):
        digest(root)


def test_names_that_are_no_text_have_a_digest(root: Path) -> None:
    before = digest(root)
    with open(os.path.join(os.fsencode(root), b"a", b"\xff.x"), "wb") as file:
        file.write(b"1")
    assert digest(root) != before
