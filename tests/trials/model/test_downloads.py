"""Weights of timm's hub: in the cache, reachable, or neither. The hub is a server on loopback."""

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from tests.serving import HttpServer
from trials.errors import ModelError
from trials.model import downloads
from trials.model.downloads import weights_at_hand

NAME = "vit_tiny_patch16_224"
REPOSITORY = "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
BY_URL = "vit_huge_patch14_gap_224"
"""One of the few that timm fetches by address."""


class Hub:
    """Knows some files, and remembers what it was asked."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.pause_s = 0.0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.asked.append((self.command, self.path))
                time.sleep(hub.pause_s)
                name = self.path.rsplit("/", 1)[1]
                self.send_response(200 if name in hub.files else 404)
                if name not in hub.files:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("ETag", '"0"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("Content-Length", str(22 * 2**20))
                self.end_headers()

            def do_GET(self) -> None:
                raise AssertionError("nothing is to be downloaded")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = HttpServer(Handler)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.server.url


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, and empty caches."""
    made = Hub()
    point_to(made.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.server.close()


def point_to(url: str, patch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT does at the library's import."""
    patch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_weights_that_the_cache_has_are_at_hand_and_nobody_is_asked(
    hub: Hub, tmp_path: Path
) -> None:
    folder = tmp_path / "hub" / REPOSITORY
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    file = folder / "snapshots" / ("0" * 40) / "model.safetensors"
    file.write_bytes(b"weights")
    assert weights_at_hand(NAME) == f"{NAME}: in the cache, {file}"
    assert hub.asked == []


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_the_hub_has_are_looked_for_and_not_fetched(hub: Hub, file: str) -> None:
    hub.files.add(file)
    said = weights_at_hand(NAME)
    assert "will be fetched from the hub, timm/vit_tiny_patch16_224" in said
    assert "(22 MiB)" in said
    assert {command for command, _ in hub.asked} == {"HEAD"}
    assert hub.asked[-1][1].endswith(file)


def test_weights_that_neither_has_are_named_with_what_to_do(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"are not in the cache .* Name a safetensors file"):
        weights_at_hand(NAME)
    assert not (tmp_path / "hub").exists()


def test_a_hub_that_is_not_there_is_given_up_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    point_to(f"http://127.0.0.1:{port}", monkeypatch)
    start = time.monotonic()
    with pytest.raises(ModelError, match=f"the hub http://127.0.0.1:{port} cannot be reached"):
        weights_at_hand(NAME)
    assert time.monotonic() - start < downloads.ANSWER_S + 5


def test_a_hub_that_hangs_is_given_up_soon(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ANSWER_S", 0.5)
    hub.pause_s = 30.0
    start = time.monotonic()
    with pytest.raises(ModelError, match="cannot be reached"):
        weights_at_hand(NAME)
    assert time.monotonic() - start < 10


def test_nobody_is_asked_who_must_not_be(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        weights_at_hand(NAME)
    assert hub.asked == []


def test_weights_by_address_are_looked_for_in_the_cache_of_torch(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(ModelError, match=r"are not in the cache .*torch.*cannot be reached"):
        weights_at_hand(BY_URL)
    (tmp_path / "torch/checkpoints").mkdir(parents=True)
    (tmp_path / "torch/checkpoints/IN1K-vit.h.14-300e.pth.tar").write_bytes(b"weights")
    assert "in the cache" in weights_at_hand(BY_URL)
