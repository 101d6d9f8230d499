"""Large objects on a real S3 API: in parts, whole or not at all, and no parts left for ever."""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import s3fs

from orchestrator.commands import collecting
from orchestrator.planning import pins
from orchestrator.planning.pins import Pin
from orchestrator.storage.files import PART_BYTES, Files, StoreAway
from orchestrator.storage.store import Store
from tests.orchestrator.programs import ROOT
from tests.serving import HttpServer

LARGE = 8 * PART_BYTES
Fault = int | None


class Between:
    """Stands before the S3 API and answers some requests itself.

    Attributes:
        fault: decides by method and query; a status to answer, 0 = never, None = behave.
        parts: queries of the parts that came.
        over: set at the end, so that none waits for ever.
        one: passed on at a time. S3 answers each request as a whole; the server behind fails to
            forget an upload while a part of it comes in.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.fault: Callable[[str, str], Fault] = lambda method, query: None
        self.parts: list[str] = []
        self.one = threading.Lock()
        self.over = threading.Event()
        handler = type("Bound", (_Handler,), {"between": self})
        self.server = HttpServer(handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between: Between

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = urlsplit(self.path).query
        if "partNumber" in query:
            self.between.parts.append(query)
        fault = self.between.fault(self.command, query)
        if fault == 0:
            self.between.over.wait(60)
        if fault is not None:
            self._answer(fault, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        with self.between.one:
            link = http.client.HTTPConnection(self.between.target, timeout=60)
            link.request(self.command, self.path, body, dict(self.headers))
            answer = link.getresponse()
            content = answer.read()
        self._answer(answer.status, dict(answer.headers), content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        length = headers.pop("Content-Length", str(len(content)))
        for name, value in headers.items():
            if name.lower() not in ("connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve


@pytest.fixture
def between(s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    """The S3 API behind something that can fail."""
    found = Between(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.server.url)
    s3fs.S3FileSystem.clear_instance_cache()
    yield found
    found.over.set()
    s3fs.S3FileSystem.clear_instance_cache()
    found.server.close()


def begun(files: Files) -> list[tuple[str, str]]:
    """All uploads that have begun and not ended."""
    return files.uploads(time.time() + 3600)


def test_a_large_object_travels_in_parts_and_comes_back_whole(s3: str, between: Between) -> None:
    content = os.urandom(LARGE + 1)
    files = Files(s3)
    files.write("objects/large", content)
    assert len(between.parts) == 9
    assert files.read("objects/large") == content
    assert begun(files) == []
    files.write("objects/small", content[:PART_BYTES])
    assert len(between.parts) == 9


def test_parts_that_are_refused_for_a_while_are_sent_again(s3: str, between: Between) -> None:
    content, met = os.urandom(LARGE), []

    def busy(method: str, query: str) -> Fault:
        if "partNumber" in query and len(met) < 6:
            met.append(query)
            return 503
        return None

    between.fault = busy
    files = Files(s3)
    files.write("objects/large", content)
    assert len(met) == 6
    assert files.read("objects/large") == content
    assert begun(files) == []


def test_an_upload_that_fails_for_good_leaves_nothing(
    s3: str, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.storage.files.PAUSES_S", ())
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    between.fault = lambda method, query: 503 if "partNumber=5" in query else None
    files = Files(s3)
    with pytest.raises(StoreAway):
        files.write("objects/large", bytes(LARGE))
    assert files.info("objects/large") is None
    assert files.list() == {}
    assert begun(files) == []


WRITER = """
import sys
from orchestrator.storage.files import Files
Files(sys.argv[1]).write("objects/large", bytes(int(sys.argv[2])))
"""


def test_what_a_killed_writer_leaves_is_invisible_and_collected(
    s3: str, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    between.fault = lambda method, query: 0 if "partNumber=7" in query else None
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, s3, str(LARGE)], env=environment)
    end = time.monotonic() + 300
    while len(between.parts) < 8 and time.monotonic() < end:
        assert writer.poll() is None
        time.sleep(0.1)
    writer.kill()
    writer.wait()
    store = Store(s3)
    assert store.files.list() == {}
    assert len(begun(store.files)) == 1
    pin = {"run_id": "r", "sweep": "s", "experiment": "e", "tracking": "http://t", "keys": ()}
    pins.write(store.files, Pin(**pin, host="h", written=1.0))
    kept = lambda one: (True, "kept")  # noqa: E731
    # This server says of every upload that it began in 2010.
    young = collecting.collect(store, kept, grace_s=50 * 365 * 86400.0)
    assert "uploads that did not end" not in young.files
    looked = collecting.collect(store, kept, dry_run=True)
    assert looked.files["uploads that did not end"] == 1
    assert len(begun(store.files)) == 1
    collecting.collect(store, kept)
    assert begun(store.files) == []


def test_uploads_of_others_in_the_bucket_are_left_alone(s3: str) -> None:
    files, bucket = Files(s3), s3.split("/")[2]
    files.fs.call_s3("create_multipart_upload", Bucket=bucket, Key="some/storehouse/theirs")
    assert begun(files) == []
    files.fs.call_s3("create_multipart_upload", Bucket=bucket, Key="some/store/ours")
    assert [key for key, _ in begun(files)] == ["some/store/ours"]


def test_a_folder_has_no_uploads(tmp_path: Path) -> None:
    assert begun(Files(str(tmp_path))) == []
