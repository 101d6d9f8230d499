"""Every test has a cache folder of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trials.data.readers import made
from trials.data import identity
from trials.data.config import DataConfig


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where indexes and decoded images are kept."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "lotus-sweep"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may be indexed as soon as they are written, as if they had been there for long."""
    monkeypatch.setattr(identity, "FRESH_NS", 0)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that have been read for their digests."""
    found: list[str] = []
    original = identity._sha256

    def counted(path: str) -> bytes:
        found.append(path)
        return original(path)

    monkeypatch.setattr(identity, "_sha256", counted)
    return found


@pytest.fixture(params=made.MADE)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of made-up data set."""
    return str(request.param)


@pytest.fixture
def config(kind: str, tmp_path: Path) -> Callable[..., DataConfig]:
    """Settings that read a data set of this kind; keyword arguments replace its own."""
    return lambda **more: made.config(kind, tmp_path / "set", **more)


Config = Callable[..., Any]
