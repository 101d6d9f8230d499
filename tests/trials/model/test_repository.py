"""Model folders on disk and on the hub. The hub is a server on loopback."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants

from tests.serving import HttpServer
from trials.errors import ModelError
from trials.model import repository
from trials.model.repository import Remote, file_of, remote_of, resolved
from trials.model.vit import ModelConfig

NAME = "vit_tiny_patch16_224"
KWARGS = {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 2, "num_heads": 2}
COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    repository._hub_text.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What timm itself writes of a model."""
    model = timm.create_model(NAME, num_classes=7, in_chans=1, **KWARGS)
    timm.models.save_for_hf(model, str(tmp_path / "m"), safe_serialization=True)
    return tmp_path / "m"


def test_a_folder_names_the_model_its_arguments_and_its_weights(folder: Path) -> None:
    found = resolved(ModelConfig(name=f"local-dir:{folder}", kwargs={"drop_rate": 0.1}))
    assert (found.name, found.pretrained) == (NAME, folder)
    size = {"img_size": [8, 8]}  # as timm writes it
    assert {n: found.kwargs[n] for n in KWARGS} == KWARGS | size
    assert found.kwargs["drop_rate"] == 0.1
    assert not {"num_classes", "in_chans"} & found.kwargs.keys()
    assert found.mean == (0.5,)
    assert file_of(folder) == folder / "model.safetensors"
    assert resolved(found) == found


def test_what_the_sweep_file_says_wins_over_the_folder(folder: Path) -> None:
    own = {"img_size": 16, "num_classes": 3}
    model = ModelConfig(name=f"local-dir:{folder}", pretrained=False, kwargs=own, mean=(0.1,))
    found = resolved(model)
    assert (found.pretrained, found.mean) == (False, (0.1,))
    assert {name: found.kwargs[name] for name in own} == own


def test_weights_of_a_folder_bring_its_mean_where_it_is_of_the_same_model(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.25]
    (folder / "config.json").write_text(json.dumps(config))
    found = resolved(ModelConfig(name=NAME, pretrained=folder))
    assert (found.name, found.kwargs, found.mean) == (NAME, {}, (0.25,))
    other = ModelConfig(name="deit_tiny_patch16_224", pretrained=folder)
    assert resolved(other).mean is None


def test_plain_settings_stay_the_same_object(tmp_path: Path) -> None:
    for pretrained in (True, False, tmp_path / "w.safetensors"):
        model = ModelConfig(name=NAME, pretrained=pretrained)
        assert resolved(model) is model


def test_a_relative_folder_means_this_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert resolved(ModelConfig(name="local-dir:m")).pretrained == folder
    assert ModelConfig(name=NAME, pretrained="local-dir:m").pretrained == folder
    assert ModelConfig(name=NAME, pretrained="hf-hub:a/b").pretrained == "hf-hub:a/b"


class Hub:
    """Files of one repository, by name; remembers what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                content = hub.files.get(self.path.rsplit("/", 1)[1])
                self.send_response(200 if content is not None else 404)
                if content is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                else:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                    self.send_header("Content-Length", str(len(content)))
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                self.wfile.write(hub.files.get(self.path.rsplit("/", 1)[1], b""))

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = HttpServer(Handler)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    url = made.server.url
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.server.close()


def test_a_repository_names_the_model_and_its_weights_without_fetching_them(
    hub: Hub, folder: Path
) -> None:
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = resolved(ModelConfig(name="hf-hub:org/m"))
    assert (found.name, found.pretrained) == (NAME, "hf-hub:org/m")
    remote = remote_of("hf-hub:org/m")
    content = hub.files["model.safetensors"]
    assert remote.digest == hashlib.sha256(content).hexdigest()
    assert (remote.revision, remote.size, remote.path) == (COMMIT, len(content), None)
    assert "will be fetched from the hub, org/m (0 MiB)" in remote.words
    assert not any(one.startswith("GET") and "safetensors" in one for one in hub.asked)


def test_what_was_fetched_is_known_by_the_same_digest_and_nobody_is_asked(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    before = remote_of("hf-hub:org/m")
    path = before.local()
    assert path.read_bytes() == hub.files["model.safetensors"]
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    pinned = remote_of(f"hf-hub:org/m@{COMMIT}")
    assert (pinned.digest, pinned.revision) == (before.digest, COMMIT)
    assert pinned.path is not None
    assert "in the cache" in pinned.words
    assert hub.asked == []


def test_offline_nobody_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        remote_of("hf-hub:org/m")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        resolved(ModelConfig(name="hf-hub:org/m"))
    assert hub.asked == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the repository has no model.safetensors"),
        ({"pytorch_model.bin": b"x"}, "has only pytorch_model.bin, a pickle"),
    ],
)
def test_a_repository_without_safe_weights_is_refused(
    hub: Hub, files: dict[str, bytes], said: str
) -> None:
    hub.files = files
    with pytest.raises(ModelError, match=said):
        remote_of("hf-hub:org/m")


@pytest.mark.slow
def test_a_hub_that_is_not_there_is_given_up(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    hub.server.close()
    with pytest.raises(ModelError, match=r"cannot be reached .* Name a safetensors file"):
        remote_of("hf-hub:org/m")
    remote = Remote("org/m", COMMIT, "model.safetensors", "0" * 64)
    with pytest.raises(ModelError, match="cannot be fetched"):
        remote.local()


@pytest.mark.parametrize("place", ["hf-hub:", "hf-hub:a/b/c", "hf-hub:a b", "hf-hub:a@b@c"])
def test_a_repository_is_written_in_one_way(place: str) -> None:
    with pytest.raises(ModelError, match="a repository is written hf-hub:ORG/NAME"):
        remote_of(place)


def test_a_repository_gives_the_model_that_timm_makes_of_it(hub: Hub, folder: Path) -> None:
    from trials.model import vit

    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    cfg = resolved(ModelConfig(name="hf-hub:org/m"))
    assert isinstance(cfg.pretrained, str)
    local: Any = cfg.model_copy(update={"pretrained": remote_of(cfg.pretrained).local()})
    made = vit.create(local, classes=7, channels=1, seed=None)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).state_dict()
    assert all(torch.equal(made.state[name], tensor) for name, tensor in theirs.items())
