"""The table of torchvision's sets against torchvision itself, and fetching from a real server."""

import hashlib
import http.server
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import loaded_by
from tests.serving import HttpServer
from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.readers import torchvision_sets
from trials.data.readers.torchvision_sets import SETS, Known
from trials.errors import DataError


@pytest.mark.parametrize("name", SETS)
def test_torchvision_has_each_set_with_the_arguments_that_it_is_given(name: str) -> None:
    from torchvision import datasets

    known = SETS[name]
    made_by = getattr(datasets, name)
    signature = inspect.signature(made_by.__init__)
    for arguments in known.parts.values():
        given = {**known.more, **arguments}
        # MNIST's family takes `train` beside arguments of its own.
        bound = signature.bind(None, "root", **given)
        assert set(given) - {"train"} <= set(bound.arguments) | set(
            bound.arguments.get("kwargs", {})
        )
        signature.bind(None, "root", download=True, **given)


@pytest.mark.parametrize("name", [n for n, known in SETS.items() if "split" in str(known.parts)])
def test_the_names_of_splits_are_torchvisions(name: str) -> None:
    from torchvision import datasets

    source = inspect.getsource(getattr(datasets, name))
    for arguments in SETS[name].parts.values():
        assert f'"{arguments["split"]}"' in source


def test_a_set_that_is_absent_is_never_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "_fetch", None)
    for name, known in SETS.items():
        cfg = DataConfig(name="torchvision", dataset=name, root=tmp_path)
        with pytest.raises(DataError, match=f"holds no {name}") as refused:
            data.load(cfg)
        assert ("data.download: true" in str(refused.value)) == known.downloads
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that has the four files of a made-up MNIST."""
    folder = tmp_path / "served"
    made.mnist_files(folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder / "MNIST" / "raw"))

        def log_message(self, *args: Any) -> None:
            pass

    running = HttpServer(Quiet)
    yield f"{running.url}/"
    running.close()


def fetching(root: Path) -> DataConfig:
    return DataConfig(name="torchvision", dataset="MNIST", root=root, download=True)


def test_a_set_is_fetched_when_asked_for_and_then_read_from_disk(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    raw = tmp_path / "served" / "MNIST" / "raw"
    resources = [
        (path.name, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
        for path in sorted(raw.glob("*.gz"))
    ]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    found = data.load(fetching(tmp_path / "fetched"))
    assert (len(found.train) + len(found.validation), len(found.test)) == (62, 18)
    assert found.channels == 1
    monkeypatch.setattr(torchvision_sets, "_fetch", None)
    assert data.load(fetching(tmp_path / "fetched")).digest == found.digest


def test_what_is_not_the_published_file_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", [server])
    with pytest.raises(
        DataError, match=r"MNIST in .* cannot be fetched by torchvision: "
    ) as refused:
        data.load(fetching(tmp_path / "fetched"))
    assert "\n" not in str(refused.value)


def test_a_server_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataError, match="cannot be fetched by torchvision: ") as refused:
        data.load(fetching(tmp_path / "fetched"))
    assert "\n" not in str(refused.value)


def test_a_known_set_is_planned_without_torch(tmp_path: Path) -> None:
    """Its labels were read when it was first looked at."""
    made.mnist_files(tmp_path / "set")
    program = (
        "from trials.data import datasets\nfrom trials.data.config import DataConfig\n"
        "import sys\ncfg = DataConfig(name='torchvision', dataset='MNIST', root=sys.argv[1])\n"
        "datasets.load(cfg)"
    )
    first, again = (
        loaded_by(program, str(tmp_path / "set"), XDG_CACHE_HOME=str(tmp_path)) for _ in range(2)
    )
    assert "torchvision" in first
    assert not again & {"torch", "torchvision"}


def test_archives_beside_the_files_make_no_other_data(tmp_path: Path) -> None:
    made.mnist_files(tmp_path)
    cfg = DataConfig(name="torchvision", dataset="MNIST", root=tmp_path)
    before = data.load(cfg).digest
    for path in (tmp_path / "MNIST" / "raw").glob("*.gz"):
        path.unlink()
    assert data.load(cfg).digest == before


def test_sizes_are_known_without_files() -> None:
    cfg = DataConfig(name="torchvision", dataset="OxfordIIITPet", root=Path("/nowhere"))
    sizes = torchvision_sets.sizes(cfg)
    assert sizes is not None
    assert (sizes.train, sizes.test, sizes.classes, sizes.channels) == (3680, 3669, 37, 3)
    for known in SETS.values():
        assert isinstance(known, Known)
        assert (known.sizes[1] > 0) == ("validation" in known.parts)
        assert (known.sizes[2] > 0) == ("test" in known.parts)
