"""A sweep on a folder of images that somebody brings: doctor, run, and again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import load_sweep, results, run
from orchestrator.commands import doctor
from orchestrator.planning.plan import plan
from tests.conftest import tiny_sweep
from tests.trials.data.readers import made
from trials.errors import DataError


@pytest.fixture
def sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small sweep on 80 images, of which one is cut."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made.image_folder(tmp_path / "photos")
    path = tmp_path / "photos/train/cat/003.png"
    path.write_bytes(path.read_bytes()[:80])
    sweep = tiny_sweep(tmp_path)
    text = sweep.read_text("utf-8").replace(
        "data: {name: digits, validation: 297, train_images: 200}",
        f"data: {{name: imagefolder, root: {tmp_path}/photos, size: 8, channels: 1}}",
    )
    sweep.write_text(text.replace("epochs: 10", "epochs: 2"), encoding="utf-8")
    return sweep


def test_a_plan_needs_no_image_decoded(sweep_file: Path, tmp_path: Path) -> None:
    assert len(plan(load_sweep(sweep_file)).trials) == 3
    assert not list(tmp_path.glob("cache/**/images.npy"))


def test_a_corrupt_image_is_said_by_the_doctor(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_cluster", lambda sweep, address: "1 node(s)")
    checks = {check.name: check for check in doctor.examine(load_sweep(sweep_file), None)}
    assert not checks["data"].ok
    assert "1 of 80 images" in checks["data"].found
    assert "train/cat/003.png" in checks["data"].found
    good = load_sweep(sweep_file, ["data.corrupt=leave_out"])
    checks = {check.name: check for check in doctor.examine(good, None)}
    assert (
        "55 train, 6 validation, 18 test images of 3 classes (bird, cat, dog)"
        in checks["data"].found
    )


@pytest.mark.slow
def test_a_corrupt_image_ends_a_run_before_ray_is_started(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.driver import cluster

    started: Callable[..., None] = pytest.fail
    monkeypatch.setattr(cluster, "connected", started)
    with pytest.raises(DataError, match=r"1 of 80 images .* cannot be decoded: .*003\.png"):
        run(load_sweep(sweep_file), report=False)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_on_own_images_runs_and_is_finished_the_next_time(sweep_file: Path) -> None:
    sweep = load_sweep(sweep_file, ["data.corrupt=leave_out"])
    finished = run(sweep, report=False)
    assert (finished.ran, finished.failed) == (3, {})
    table = results(sweep)
    assert table["final/test_n"].tolist() == [18] * 3
    # 8 birds, 6 cats and 4 dogs: the two accuracies weigh them differently.
    assert table["final/test_balanced_accuracy"].between(0, 1).all()
    assert run(sweep, report=False).ran == 0
