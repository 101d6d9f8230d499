"""Checks before anything is spent. Ray itself is looked at by the tests of the cluster."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.commands import doctor
from orchestrator.planning.config import SweepConfig

Tiny = Callable[..., SweepConfig]
Lotus = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes seconds to start."""
    monkeypatch.setattr(doctor, "_cluster", lambda sweep, address: "1 node(s)")


def looked(sweep: SweepConfig | None) -> dict[str, doctor.Check]:
    """The checks by name."""
    return {check.name: check for check in doctor.examine(sweep, None)}


def test_without_a_sweep_only_the_machine_is_looked_at() -> None:
    found = looked(None)
    assert list(found) == ["hardware", "versions"]
    assert all(check.ok for check in found.values())


def test_a_good_sweep_passes_everything(tiny: Tiny, tmp_path: Path) -> None:
    found = looked(tiny())
    assert list(found)[2:] == [
        "data and weights", "store", "tracking", "artifacts", "runs", "Ray and devices",
    ]  # fmt: skip
    assert all(check.ok for check in found.values())
    data = found["data and weights"].found
    assert "64 train, 40 validation, 500 test images" in data
    assert "weights random" in data
    assert f"{tmp_path}/store is writable" in found["store"].found
    assert not (tmp_path / "mlflow.db").exists()
    assert not list(tmp_path.rglob(".probe*"))


def test_absent_data_is_found_and_the_rest_still_looked_at(tiny: Tiny) -> None:
    bad = looked(tiny("", "data.name=cifar10", "data.root=/nowhere/at/all"))
    assert [name for name, check in bad.items() if not check.ok] == ["data and weights"]
    assert "data.root" in bad["data and weights"].found


def test_a_store_that_cannot_be_written_is_found(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    bad = looked(tiny("", f"storage.path={tmp_path}/file/store"))
    assert [name for name, check in bad.items() if not check.ok] == ["store"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.name=vit_tiny_patch16_225", "timm"),
        ("model.kwargs.foo=3", "model.kwargs"),
        ("model.pretrained=/nowhere/w.safetensors", "model.pretrained"),
        ("data.validation=9999", "data.validation"),
        ("storage.path=nothing://x", "storage.path"),
    ],
)
def test_what_cannot_work_is_said_in_words(override: str, expected: str, tiny: Tiny) -> None:
    bad = [check for check in looked(tiny("", override)).values() if not check.ok]
    assert len(bad) == 1
    assert expected in bad[0].found


def test_the_command_ends_with_1_when_a_check_fails(
    sweep_file: Callable[..., Path], lotus: Lotus
) -> None:
    code, out, _ = lotus("doctor", str(sweep_file()))
    assert code == 0
    assert "NO" not in out.replace("NOT", "")
    code, out, _ = lotus("doctor", str(sweep_file()), "--set", "data.validation=9999")
    assert code == 1
    assert "NO  data and weights" in out
