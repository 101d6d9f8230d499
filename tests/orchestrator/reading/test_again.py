"""The command that a report prints, for every way to ask; `test_standing.py` types it."""

import shlex
from pathlib import Path

import pytest

from orchestrator.planning.sweepfile import load_sweep
from orchestrator.reading.again import report_command
from orchestrator.tracking.tracker import Address

HERE = Address("sqlite:////somewhere/mlflow.db", "1", "f" * 32)


def written(folder: Path, text: str, name: str = "s.yaml") -> Path:
    path = folder / name
    path.write_text(text + f"storage: {{path: {folder}/store}}\n")
    return path


def test_a_bundled_sweep_goes_by_its_name_and_overrides_are_quoted() -> None:
    overrides = ["retention={checkpoints: all}", "finetune.epochs=1"]
    words = shlex.split(report_command(load_sweep("digits", overrides), HERE))
    assert words == ["lotus", "report", "--set", overrides[0], "--set", overrides[1], "digits"]


def test_a_file_goes_by_its_path_as_it_was_given(
    tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, tiny_text, "-a b.yaml")
    monkeypatch.chdir(tmp_path)
    assert report_command(load_sweep("-a b.yaml"), HERE) == "lotus report -- '-a b.yaml'"
    assert report_command(load_sweep("./-a b.yaml"), HERE) == "lotus report './-a b.yaml'"


def test_a_file_that_was_sent_with_a_job_is_gone_when_that_has_ended(
    tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, tiny_text)
    monkeypatch.setenv("LOTUS_SENT_SWEEP", str(path))
    said = report_command(load_sweep(str(path)), HERE)
    assert str(path) not in said
    fetch, again = said.splitlines()
    assert "mlflow artifacts download -r " + HERE.parent in fetch
    assert again == f"lotus report lotus-ffffffff/sweep.yaml --tracking-uri {HERE.uri}"


def test_a_password_of_the_environment_is_not_asked_for_by_a_page(
    tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, tiny_text)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://u:hunter2@host/db")
    assert report_command(load_sweep(path), HERE) == f"lotus report {path}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert report_command(load_sweep(path), HERE) == (
        f"lotus report --tracking-uri http://host:5000 {path}"
    )


def test_how_a_sweep_was_asked_for_says_nothing_of_what_it_is(
    tmp_path: Path, tiny_text: str
) -> None:
    one = load_sweep(written(tmp_path, tiny_text))
    other = load_sweep(written(tmp_path, tiny_text, "other.yaml"))
    assert one == other
    assert one.source.path != other.source.path
    assert one.model_dump() == other.model_dump()
    assert not {"source", "_source"} & type(one).model_json_schema()["properties"].keys()
