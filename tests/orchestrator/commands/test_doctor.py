"""Checks before anything is spent. Ray itself is looked at by the tests of the cluster."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import timm

from orchestrator.commands import doctor
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.private_names import Package, PrivateName
from tests.orchestrator.conftest import TINY
from tests.orchestrator.programs import environment

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
    assert list(found) == ["hardware", "versions", "private names"]
    assert all(check.ok for check in found.values())


def test_a_package_that_has_lost_a_private_name_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = PrivateName("ray._private.state", "no_such_name", "notes")
    monkeypatch.setattr(doctor, "RAY", Package("ray", "1.0", "ray[tune]", (gone,)))
    check = looked(None)["private names"]
    assert not check.ok
    assert check.found == (
        f"ray {metadata.version('ray')} lacks ray._private.state.no_such_name (notes): "
        "install `ray[tune]==1.0`"
    )


def test_a_good_sweep_passes_everything(tiny: Tiny, tmp_path: Path) -> None:
    found = looked(tiny())
    assert list(found)[3:] == [
        "data", "model", "weights", "store", "tracking", "artifacts", "runs", "Ray and devices",
    ]  # fmt: skip
    assert all(check.ok for check in found.values())
    assert "64 train, 40 validation, 500 test images" in found["data"].found
    assert "vit_tiny_patch16_224 can be built, 16 patches, 2 blocks" in found["model"].found
    assert found["weights"].found == "random"
    assert f"{tmp_path}/store is writable" in found["store"].found
    assert not (tmp_path / "mlflow.db").exists()
    assert not list(tmp_path.rglob(".probe*"))


def test_absent_data_a_misspelt_model_and_an_absent_file_are_all_found_at_once(tiny: Tiny) -> None:
    bad = looked(
        tiny(
            "",
            "data.name=cifar10",
            "data.root=/nowhere/at/all",
            "model.name=vit_tiny_patch16_225",
            "model.pretrained=/nowhere/w.safetensors",
        )
    )
    wrong = {name: check.found for name, check in bad.items() if not check.ok}
    assert wrong.keys() == {"data", "model", "weights"}
    assert "data.root" in wrong["data"]
    assert "near it: vit_tiny_patch16_224" in wrong["model"]
    assert "/nowhere/w.safetensors" in wrong["weights"]


def test_every_model_of_an_axis_is_looked_at(tiny: Tiny) -> None:
    names = "search: {model.name: [vit_tiny_patch16_224, vit_tiny_patch61_224, vit_no_384]}\n"
    found = looked(tiny(names))["model"]
    assert not found.ok
    assert "vit_tiny_patch61_224" in found.found
    assert "vit_no_384" in found.found


def test_what_a_run_cannot_be_compared_for_is_not_said_twice(
    tracked_trial: Any, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(tracked_trial.path.read_text())
    sweep = load_sweep(path, ["data.validation=9999"])
    wrong = {name: check.found for name, check in looked(sweep).items() if not check.ok}
    assert wrong.keys() == {"data", "runs"}
    assert "data.validation" in wrong["data"]
    assert wrong["runs"] == "cannot be looked at before what is said above is mended"


def test_a_store_that_cannot_be_written_is_found(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    bad = looked(tiny("", f"storage.path={tmp_path}/file/store"))
    assert [name for name, check in bad.items() if not check.ok] == ["store"]


@pytest.mark.slow
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
    path = str(sweep_file())
    assert out.endswith(f"\nRun it    lotus run {path}\n")
    code, out, _ = lotus("doctor", path, "--set", "data.validation=9999")
    assert code == 1
    assert "NO  data: " in out
    again = f"lotus doctor {path} --set data.validation=9999"
    assert out.endswith(f"\n1 problem: data. Mend what is marked NO, then: {again}\n")


def test_this_machine_is_looked_at_even_where_the_file_is_wrong(
    sweep_file: Callable[..., Path], lotus: Lotus
) -> None:
    code, out, err = lotus("doctor", str(sweep_file("search: {sed: [0]}\n")))
    assert code == 2
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "ok  hardware", "ok  versions", "ok  private names",
    ]  # fmt: skip
    assert "search.sed: unknown key; did you mean `seed`?" in err


def test_weights_that_cannot_be_had_are_said_in_seconds(
    sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    """As a user without a network sees it; the run would fail after a minute and a half."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{found.getsockname()[1]}"
    path = sweep_file(text=TINY.replace("pretrained: false", "pretrained: true"))
    program = (
        "from orchestrator.commands import doctor\n"
        "from orchestrator import load_sweep\n"
        "import sys\n"
        "doctor._cluster = lambda sweep, address: '1 node(s)'\n"
        "for check in doctor.examine(load_sweep(sys.argv[1]), None):\n"
        "    print(check.name, check.ok, check.found, sep='|')\n"
    )
    away = {"HF_ENDPOINT": nowhere, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env=environment(**away),
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - start < 60
    wrong = [line.split("|") for line in done.stdout.splitlines() if "|False|" in line]
    ((name, _, said),) = wrong
    assert name == "weights"
    assert "are not in the cache" in said
    assert f"the hub {nowhere} cannot be reached" in said
    assert not list((tmp_path / "hf").rglob("*.safetensors"))


@pytest.mark.slow
def test_doctor_says_what_of_a_file_is_not_taken_as_it_is(
    sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    kwargs = {"img_size": 16, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=0, **kwargs)
    timm.models.save_for_hf(model, str(tmp_path / "m"), safe_serialization=True)
    for place in (tmp_path / "m", tmp_path / "m/model.safetensors"):
        found = looked(load_sweep(sweep_file(), [f"model.pretrained={place}"]))["weights"]
        assert found.ok
        assert "fresh: head; resampled: pos_embed" in found.found
        assert "model.safetensors, digest " in found.found
    named = [f"model.name=local-dir:{tmp_path}/m", "model.pretrained=true"]
    assert looked(load_sweep(sweep_file(), named))["weights"].ok
    bad = looked(load_sweep(sweep_file(), [f"model.pretrained={tmp_path}"]))["weights"]
    assert not bad.ok
    assert "holds no safetensors file" in bad.found


def test_weights_of_a_repository_are_ok_only_when_they_can_be_had(
    sweep_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for setting in ("pretrained", "name"):
        found = looked(load_sweep(sweep_file(), [f"model.{setting}=hf-hub:org/absent"]))
        assert not found["model"].ok
        assert not found["weights"].ok
        assert "HF_HUB_OFFLINE forbids to fetch it" in found["model"].found
