"""An output folder that was moved, copied or has lost its artifacts."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.tracking.places import elsewhere, local
from tests.orchestrator.tracking.conftest import Output

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def before(original: Output, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the report of the sweep says where it was made."""
    return original.reported(tmp_path_factory.mktemp("before") / "report")


def block(path: Path) -> None:
    """Nobody can make this folder again."""
    path.write_text("a file where a folder was")


def test_a_moved_folder_is_read_as_before_and_nothing_is_written_to_the_old_place(
    output: Output, before: dict[str, object], tmp_path: Path
) -> None:
    named = output.addresses()
    now = output.moved("elsewhere/with space/lötus")
    assert now.reported(tmp_path / "report") == before
    pictures = list((tmp_path / "report").rglob("ticket*.png"))
    assert pictures, "they are artifacts"
    file = str(now.file)
    done = now.lotus("report", file)
    assert done.returncode == 0, done.stderr
    assert str(now.folder / "reports") in done.stdout.replace("\n", "")
    assert list((now.folder / "artifacts").rglob("report/report.html")), "it is kept on the run"
    assert "4" in now.lotus("status", file).stdout
    assert now.lotus("select", file).returncode == 0
    model = now.lotus("export", file, "--output", str(tmp_path / "model"))
    assert model.returncode == 0, model.stderr
    assert (tmp_path / "model/mask.safetensors").exists()
    assert not output.folder.exists()
    assert now.addresses() == named, "reading changes nothing"


@pytest.mark.parametrize("old", ["gone", "cannot be made"])
def test_a_sweep_goes_on_in_a_moved_folder(
    old: str, output: Output, ray_cluster: None, tmp_path: Path
) -> None:
    named = output.addresses()
    now = output.moved("elsewhere")
    if old == "cannot be made":
        block(output.folder)
    wider = now.file.read_text().replace("seed: [0, 1]", "seed: [0, 1, 2]")
    (tmp_path / "wider.yaml").write_text(wider)
    done = now.lotus("run", str(tmp_path / "wider.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "addresses are rewritten" in done.stderr
    assert output.folder.is_file() == (old == "cannot be made")
    assert not output.folder.is_dir()
    here, there = now.folder.as_uri(), output.folder.as_uri()
    assert {one.replace(there, here) for one in named} < now.addresses()
    assert not [one for one in now.addresses() if there in one]
    (kept,) = now.folder.glob("mlflow.db.before-move-*")
    assert Output(kept.parent, "").rows("select count(*) from runs")
    with closing(sqlite3.connect(kept)) as opened:
        found = {row[0] for row in opened.execute("select artifact_uri from runs")}
    assert found < named
    summary = json.loads((now.folder / "reports/tiny@lost/summary.json").read_text())
    assert summary["trials"]["finished"] == 6
    assert not [one for one in summary["warnings"] if "artifact" in one]
    assert not sum(path.stat().st_size for path in now.folder.glob("mlflow.db-wal")), "folded in"


def dump(path: Path) -> list[str]:
    """A database, line by line."""
    with closing(sqlite3.connect(path)) as opened:
        return sorted(opened.iterdump())


def test_only_addresses_that_begin_with_the_old_folder_are_rewritten(output: Output) -> None:
    from orchestrator.tracking.places import settle

    other = f"{output.folder.as_uri()}/artifacts-of-others/x"
    with closing(sqlite3.connect(output.database)) as opened:
        opened.execute(
            "insert into experiments (name, artifact_location, lifecycle_stage)"
            " values ('other', ?, 'active')", (other,),
        )  # fmt: skip
        opened.execute(
            "insert into tags (key, value, run_uuid)"
            " select 'note', artifact_uri, run_uuid from runs"
        )
        opened.commit()
    was = dump(output.database)
    now = output.moved("lotus-2")
    (said,) = settle(now.database)
    assert str(now.folder) in said
    changed = [(a, b) for a, b in zip(was, dump(now.database), strict=True) if a != b]
    assert len(changed) == len(now.addresses()) - 1
    old, new = f"{output.folder.as_uri()}/artifacts", f"{now.folder.as_uri()}/artifacts"
    for a, b in changed:
        assert a.startswith(('INSERT INTO "experiments"', 'INSERT INTO "runs"'))
        assert a.replace(old, new) == b
    assert settle(now.database) == []
    assert elsewhere(now.database) == []


def test_a_sweep_that_goes_on_in_a_copy_leaves_the_original_alone(
    output: Output, tmp_path: Path
) -> None:
    copy = Output(tmp_path / "copy", output.text)
    shutil.copytree(output.folder, copy.folder)
    was = {path: path.stat().st_mtime_ns for path in output.folder.rglob("*")}
    done = copy.lotus("run", str(copy.file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in output.folder.rglob("*")} == was
    assert list((copy.folder / "artifacts").rglob("report/report.html"))


def test_lost_artifacts_are_said_and_written_again_from_the_store(
    output: Output, before: dict[str, object], tmp_path: Path
) -> None:
    shutil.rmtree(output.folder / "artifacts")
    file, to = str(output.file), tmp_path / "poorer"
    done = output.lotus("report", file, "--output", str(to))
    assert done.returncode == 1
    assert "The artifacts of 4 of 4 finished trials are missing" in done.stderr
    assert "`lotus doctor SWEEP --repair` writes them again" in done.stderr
    assert str(to / "report.html") in done.stderr.replace("\n", "")
    warnings = json.loads((to / "summary.json").read_text())["warnings"]
    assert any("4 of 4 finished trials are missing" in one for one in warnings)
    model = output.lotus("export", file, "--output", str(tmp_path / "model"))
    assert model.returncode == 1
    assert "they are not at" in model.stderr
    seen = output.lotus("doctor", file).stdout
    assert "artifacts: The artifacts of 4 of 4 finished trials are missing" in seen
    mended = output.lotus("doctor", file, "--repair")
    assert "mended" in mended.stdout
    assert output.reported(tmp_path / "again") == before


def test_a_moved_database_whose_artifacts_stayed_behind_and_are_lost(
    output: Output, before: dict[str, object], tmp_path: Path
) -> None:
    """Not followed to a place where nothing of them lies, unless somebody asks for that."""
    now = output.moved("elsewhere")
    shutil.rmtree(now.folder / "artifacts")
    file = str(now.file)
    start = time.monotonic()
    done = now.lotus("run", file)
    assert done.returncode == 1
    assert time.monotonic() - start < 45, "nobody waits for what is not there"
    assert f"in {output.folder}/artifacts, which is not there" in done.stderr.replace("\n", " ")
    assert "a disk that is not mounted?" in done.stderr
    assert not output.folder.exists()
    assert now.lotus("doctor", file, "--repair").stdout.count("mended") >= 4
    assert now.reported(tmp_path / "again") == before
    assert not output.folder.exists()


def test_one_lost_file_is_said_too(output: Output, tmp_path: Path) -> None:
    lost = next((output.folder / "artifacts").rglob("outcomes/correct.safetensors"))
    lost.unlink()
    found = output.reported(tmp_path / "report")
    said = "correct.safetensors is missing from the artifacts of 1 of 4 compared trials"
    assert any(said in one for one in found["warnings"])


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a", "/a"),
        ("/a/b", "/a/b"),
        ("file://host/a", None),
        ("s3://bucket/a", None),
        ("mlflow-artifacts:/1/x", None),
        ("a/b", None),
    ],
)
def test_what_lies_on_this_machine_is_known_by_its_address(address: str, path: str | None) -> None:
    assert local(address) == (Path(path) if path else None)


def test_a_lost_bucket_is_told_from_a_store_that_is_away(
    tiny_text: str, tmp_path: Path, s3: str, lotus: Callable[..., tuple[int, str, str]]
) -> None:
    import s3fs

    from orchestrator.tracking.connection import connect
    from tests.orchestrator.faults.conftest import made_bench

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    bench = made_bench(tmp_path, tiny_text, uri)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as opened:
        opened.execute("update experiments set artifact_location = ?", (s3,))
        opened.execute("update runs set artifact_uri = replace(artifact_uri, ?, ?)",
                       (f"file://{tmp_path}/artifacts", s3))  # fmt: skip
        opened.commit()
    bench.run()
    assert connect(uri).list_artifacts(bench.tracker.runs()[-1].info.run_id)
    file, to = str(tmp_path / "sweep.yaml"), str(tmp_path / "report")
    assert lotus("report", file, "--output", to)[0] == 0
    s3fs.S3FileSystem(use_listings_cache=False).rm(s3.split("/")[2], recursive=True)
    start = time.monotonic()
    code, _, error = lotus("report", file, "--output", to)
    assert time.monotonic() - start < 30
    assert code == 1
    assert f"they are not at {s3}" in error
    assert "Restore that place" in error
    assert "The specified bucket does not exist" in error.replace("\n", " ")
