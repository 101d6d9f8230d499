"""Files below a place: faults of real file systems and of object stores, in words."""

import errno
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from orchestrator.storage import files
from orchestrator.storage.files import Files, StoreAway, StoreUnusable
from orchestrator.storage.store import Store
from tests.serving import HttpServer
from trials.errors import LotusError


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES_S", (0.01, 0.01))


def test_what_is_written_is_read_listed_moved_and_removed(store: Store) -> None:
    place = store.files
    place.write("a/b.json", b"1")
    place.write("a/c/d.json", b"22")
    assert place.read("a/b.json") == b"1"
    assert {path: info.bytes for path, info in place.list().items()} == {
        "a/b.json": 1,
        "a/c/d.json": 2,
    }
    assert place.list("a/c").keys() == {"a/c/d.json"}
    assert place.read_all(["a/c/d.json", "a/none", "a/b.json"]) == {
        "a/c/d.json": b"22",
        "a/b.json": b"1",
    }
    assert place.move("a/b.json", "x/y/z.json")
    assert not place.move("a/b.json", "x/y/z.json")
    assert place.read("x/y/z.json") == b"1"
    place.remove("x/y/z.json")
    place.remove("x/y/z.json")
    assert place.list().keys() == {"a/c/d.json"}


def test_what_is_not_there_is_said_so(store: Store) -> None:
    assert store.files.list("none") == {}
    assert store.files.info("none") is None
    assert store.files.read_all([]) == {}
    with pytest.raises(FileNotFoundError):
        store.files.read("none")


def test_renewing_makes_new_and_keeps_the_content(store: Store) -> None:
    store.files.renew("a", b"1")
    first = store.files.info("a")
    store.files.renew("a", b"1")
    again = store.files.info("a")
    assert first
    assert again
    assert store.files.read("a") == b"1"
    assert again.modified >= first.modified


def test_the_clock_is_that_of_the_files(store: Store) -> None:
    now = store.files.probe()
    store.files.write("a", b"1")
    written = store.files.info("a")
    assert written is not None
    assert 0 <= written.modified - now < 60
    assert store.files.list().keys() == {"a"}


def test_a_listing_sees_what_others_have_written_since(store: Store) -> None:
    store.files.write("a/1", b"1")
    assert len(store.files.list()) == 1
    Files(store.url).write("a/2", b"2")
    assert len(store.files.list()) == 2


def test_a_full_file_system_is_said_and_nothing_half_written_is_seen(
    mounted: Callable[..., Path],
) -> None:
    place = Files(str(mounted("size=1m")))
    place.write("small", b"1")
    with pytest.raises(StoreUnusable) as full:
        place.write("large", b"x" * 2_000_000)
    assert f"storage.path = {place.url}, is full: free space or run `lotus gc`" in str(full.value)
    assert "the same command continues" in str(full.value)
    assert place.list().keys() == {"small"}
    place.write("small", b"2")
    assert place.read("small") == b"2"


def test_without_inodes_a_file_system_is_full_too(mounted: Callable[..., Path]) -> None:
    place = Files(str(mounted("size=1m,nr_inodes=4")))
    for i in range(2):
        place.write(f"{i}", b"1")
    with pytest.raises(StoreUnusable, match="is full"):
        place.write("2/3/4", b"1")


def test_a_read_only_file_system_is_read_and_refuses_in_words(
    mounted: Callable[..., Path],
) -> None:
    import subprocess

    root = mounted("size=1m")
    place = Files(str(root))
    place.write("a", b"1")
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    assert place.read("a") == b"1"
    acts: list[Callable[[], Any]] = [
        lambda: place.write("b", b"1"),
        lambda: place.remove("a"),
        lambda: place.move("a", "c"),
        lambda: place.renew("a", b"1"),
        place.probe,
    ]
    for act in acts:
        with pytest.raises(StoreUnusable, match="is read-only: mount it for writing"):
            act()
    assert place.list().keys() == {"a"}


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EDQUOT, errno.EACCES, errno.EFBIG])
def test_a_lasting_fault_is_not_tried_again(number: int, tmp_path: Path) -> None:
    place, tries = Files(str(tmp_path)), []

    def fail() -> None:
        tries.append(1)
        raise OSError(number, "no")

    with pytest.raises(StoreUnusable):
        place._writing(fail)
    assert len(tries) == 1


def test_a_passing_fault_is_waited_for(tmp_path: Path) -> None:
    place, tries = Files(str(tmp_path)), []

    def works_the_third_time() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EIO, "cable")
        return "done"

    assert place._writing(works_the_third_time) == "done"


def test_a_fault_that_stays_may_still_pass_later(tmp_path: Path) -> None:
    """It is an OSError too: what is worth another attempt."""

    def fail() -> None:
        raise OSError(errno.ETIMEDOUT, "no answer")

    with pytest.raises(StoreAway, match="does not answer") as away:
        Files(str(tmp_path))._reading(fail)
    assert isinstance(away.value, OSError)
    assert not isinstance(away.value, StoreUnusable)


def test_an_error_of_our_own_is_not_hidden(tmp_path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Files(str(tmp_path))._reading(fail)


def test_no_password_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LotusError) as unknown:
        Files("nothing://me:hunter22@host/x")
    assert "hunter22" not in str(unknown.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")

    def fail() -> None:
        raise OSError(errno.EACCES, "key wJalrXUtnFEMI")

    with pytest.raises(StoreUnusable) as refused:
        Files(str(tmp_path))._writing(fail)
    assert "wJalr" not in str(refused.value)


class Answers(BaseHTTPRequestHandler):
    """Refuses every request in the same way, as an S3 API does."""

    status, code = 500, "InternalError"
    protocol_version = "HTTP/1.1"  # the client asks before it sends a body

    def _refuse(self) -> None:
        text = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _refuse

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def refusing(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], Files]]:
    """A place on an S3 API that refuses everything with one code."""
    import s3fs

    servers = []

    def start(status: int, code: str) -> Files:
        handler = type("Handler", (Answers,), {"status": status, "code": code})
        server = HttpServer(handler)
        servers.append(server)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        return Files(s3)

    yield start
    s3fs.S3FileSystem.clear_instance_cache()
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "AccessDenied", StoreUnusable, "must not be written by this user"),
        (403, "InvalidAccessKeyId", StoreUnusable, "must not be written by this user"),
        (404, "NoSuchBucket", StoreUnusable, "check the path"),
        (507, "InsufficientStorage", StoreUnusable, "is full: free space"),
        (400, "QuotaExceeded", StoreUnusable, "is full: free space"),
        (500, "InternalError", StoreAway, "does not answer"),
        (503, "SlowDown", StoreAway, "does not answer"),
    ],
)
def test_what_an_object_store_answers_is_understood(
    refusing: Callable[[int, str], Files], status: int, code: str, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        refusing(status, code).write("a", b"1")


def test_an_object_store_that_is_away_is_said_so(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreAway, match="does not answer"):
        Files(s3).write("a", b"1")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_folder_whose_name_looks_like_a_pattern_is_that_folder(tmp_path: Path) -> None:
    place = Files(str(tmp_path / "[ab]*"))
    place.write("x/1.json", b"1")
    assert place.read_all(["x/1.json"]) == {"x/1.json": b"1"}
    assert list(place.list()) == ["x/1.json"]


def test_a_file_that_cannot_be_read_is_not_taken_for_one_that_is_absent(tmp_path: Path) -> None:
    """Else `lotus gc` would free what a sweep needs whose pin could not be read just then."""
    place = Files(str(tmp_path))
    place.write("a", b"1")
    (tmp_path / "b").mkdir()
    with pytest.raises(StoreUnusable, match="cannot be read"):
        place.read_all(["a", "b"])
