"""Results of several versions of a package are counted apart, and what nobody knows is said."""

import csv
import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.reading import ages
from orchestrator.reading.tables import trials_table
from orchestrator.tracking.tracker import Child
from orchestrator.versions import in_words, of_words, versions
from orchestrator.vocabulary import Tag

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import Program, environment

from tests.conftest import tiny_sweep


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    Program.end_all()


def child(key: str, kind: str, tags: dict[str, str], status: str = "FINISHED") -> Child:
    return Child(f"r-{key}", key, kind, status, tags, 0, {})


def test_versions_are_written_in_words_and_read_back() -> None:
    many = [{"torch": "2.4.0+cpu", "numpy": "2.1"}, {"torch": "2.3.0+cpu", "numpy": "2.1"}]
    text = in_words(many)
    assert text == "numpy 2.1, torch 2.3.0+cpu and 2.4.0+cpu"
    assert of_words(text) == {"numpy": "2.1", "torch": "2.3.0+cpu and 2.4.0+cpu"}
    assert of_words(in_words([versions()])) == versions()
    assert in_words([]) == ""
    assert of_words("") == {}


def test_trials_are_counted_by_version_and_those_that_do_not_say_are_named() -> None:
    said = ["torch 2.3", "torch 2.4", "torch 2.4", None, "torch 2.3 and 2.4", "torch 9"]
    status = ["FINISHED"] * 5 + ["FAILED"]
    found = ages.counts(pd.DataFrame({"status": status, "versions": said}))
    counted = {"2.3": 1, "2.3 and 2.4": 1, "2.4": 2, "not recorded": 1}
    assert found == {"torch": counted}
    (sentence,) = ages.warning(found)
    assert "torch 2.3 (1 trial), 2.3 and 2.4 (1 trial), 2.4 (2 trials)" in sentence
    assert ages.facts(found)["torch"].endswith("not recorded (1 trial)")


def test_a_sweep_without_a_trial_has_no_versions() -> None:
    assert ages.counts(trials_table([])) == {}
    assert ages.warning({}) == []


@pytest.mark.parametrize("said", [["torch 2.4", "torch 2.4"], ["torch 2.4", None], [None, None]])
def test_one_version_is_no_mixture(said: list[str | None]) -> None:
    table = pd.DataFrame({"status": ["FINISHED"] * 2, "versions": said})
    assert ages.warning(ages.counts(table)) == []


def test_an_upgrade_is_said_for_what_the_sweep_still_has() -> None:
    old, new = {Tag.MADE_WITH: "torch 2.3"}, {Tag.MADE_WITH: "torch 2.4"}
    children = [
        child("a", "trial", old),
        child("b", "trial", old),
        child("c", "stage", old),
        child("d", "trial", new),
        child("e", "trial", old, "FAILED"),
        child("f", "trial", old),
        child("g", "trial", {"lotus.version": "0.1"}),
        child("h", "stage", {"lotus.version": "0.1", "lotus.cached": "true"}),
    ]
    now = {"torch": "2.4", "lotus-sweep": "0.2"}
    assert ages.changes(children, set("abcdegh"), now) == (
        "lotus-sweep from 0.1 to 0.2 (1 finished trial); "
        "torch from 2.3 to 2.4 (2 finished trials and 1 shared stage)"
    )
    assert ages.changes(children, set("d"), now) == ""


@pytest.mark.slow
def test_an_upgraded_package_is_said_at_the_start_and_in_the_report(tmp_path: Path) -> None:
    path, older = tiny_sweep(tmp_path), tmp_path / "older"
    about = older / "safetensors-0.0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: safetensors\nVersion: 0.0.1\n")
    now = metadata.version("safetensors")
    before = environment()
    before["PYTHONPATH"] = f"{older}:{before['PYTHONPATH']}"
    run = ["run", str(path), "--set", "search.arm=[dense]"]
    first = Program.start(tmp_path / "1", *run, env=before)
    assert first.wait() == 0, first.said
    assert "other versions" not in first.said
    second = Program.start(tmp_path / "2", *run, "--set", "search.seed=[0, 1]", env=environment())
    assert second.wait() == 0, second.said
    assert (
        f"tiny: computed with other versions before: safetensors from 0.0.1 to {now} "
        "(1 finished trial and 2 shared stages)"
    ) in second.said
    reports = tmp_path / "reports/tiny"
    summary = json.loads((reports / "summary.json").read_text())
    both = f"0.0.1 and {now}"  # what needs no seed, such as the speed, was at hand already
    assert summary["versions"]["safetensors"] == {"0.0.1": 1, both: 1}
    assert summary["versions"]["torch"] == {metadata.version("torch"): 2}
    assert any("different package versions" in warning for warning in summary["warnings"])
    with (reports / "trials.csv").open(newline="", encoding="utf-8") as table:
        rows = {row["seed"]: of_words(row["versions"]) for row in csv.DictReader(table)}
    assert (rows["0"]["safetensors"], rows["1"]["safetensors"]) == ("0.0.1", both)
    page = (reports / "report.html").read_text()
    assert f"<dt>safetensors</dt><dd><bdi>0.0.1 (1 trial), {both} (1 trial)</bdi></dd>" in page
    third = Program.start(tmp_path / "3", *run, "--set", "search.seed=[0, 1]", env=environment())
    assert third.wait() == 0, third.said
    assert "computed with" not in third.said, "nothing is computed"
