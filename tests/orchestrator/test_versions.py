"""What made a number."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator import versions


def test_the_versions_that_change_results_are_named() -> None:
    found = versions.versions()
    assert found["torch"] == metadata.version("torch")
    assert found["python"] == platform.python_version()
    assert {"lotus-sweep", "timm", "ray", "mlflow", "numpy", "safetensors"} <= found.keys()
    assert all(found.values())


def test_hardware_is_one_line() -> None:
    line = versions.hardware()
    assert "cores" in line
    assert "GiB" in line
    assert "\n" not in line
    assert versions.host()


def test_hardware_says_how_many_cores_a_container_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for usable, said in ((2.5, "2.5 of 64 cores"), (64.0, ", 64 cores")):
        monkeypatch.setattr(versions, "usable_cores", lambda usable=usable: usable)
        versions.hardware.cache_clear()
        assert said in versions.hardware()
    versions.hardware.cache_clear()


def git(folder: Path, *args: str) -> str:
    """Run git as nobody in particular."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *who, *args], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_says_when_the_folder_differs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    fresh = versions.git_commit.__wrapped__
    assert fresh() is None
    git(tmp_path, "init", "--quiet")
    assert fresh() is None
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert fresh() == commit
    (tmp_path / "new").write_text("x")
    assert fresh() == f"{commit}+changes"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert versions.git_commit.__wrapped__() is None


def test_differences_name_both_sides_and_are_empty_without_any() -> None:
    own = versions.versions()
    assert versions.differences(own, own) == ""
    other = {name: v for name, v in own.items() if name != "numpy"} | {"torch": "1.0", "new": "2"}
    assert versions.differences(other, own) == (
        f"new 2 (driver: absent), numpy absent (driver: {own['numpy']}), "
        f"torch 1.0 (driver: {own['torch']})"
    )
