"""What people see when a sweep has ended."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.commands import console as shown
from orchestrator.commands.console import show_failed, show_finished
from orchestrator.selection.answer import answer
from tests.orchestrator.commands.screens import log, said, screen


def summary(**changes: Any) -> dict[str, Any]:
    """A summary as the report makes it."""
    return {
        "sweep": "tiny",
        "trials": {"planned": 9, "finished": 8, "failed": 1},
        "answer": {
            "essential": "The essential sparsity is 30 %: [so] much.",
            "recommended": "Recommended: LOTUS (one-shot level 30 %, final sparsity 70 %).",
            "saves": "It keeps all patches.",
            "costs": "It loses 1.0 point on test.",
        },
        "essential_sparsity": None,
        "recommended": {
            "macs_ratio": 1.0,
            "macs_ratio_kept": 1.0,
            "patch_drop": 0.0,
            "final_sparsity": 0.7,
            "images_per_s_ratio": None,
            "difference": -0.01,
            "test_accuracy": 0.94,
            "dense_test_accuracy": 0.95,
            "models_low": -0.02,
            "models_high": 0.0,
            "seeds_low": None,
            "seeds_high": None,
        },
        "cost": {"device": "cpu", "words": "2.0 CPU-hours instead of 3.0 without sharing stages"},
        "warnings": ["only [one] seed. More of it."],
    } | changes


def finished(found: dict[str, Any], report: str | None, uri: str) -> Any:
    """As much of a finished sweep as is shown."""
    sweep = SimpleNamespace(tracking=SimpleNamespace(uri=uri))
    plan, address = SimpleNamespace(sweep=sweep), SimpleNamespace(experiment_id="7", parent="p")
    return SimpleNamespace(summary=found, report=report, plan=plan, address=address, wall_s=95)


def test_the_end_shows_the_answer_and_where_to_look_in_few_lines(tmp_path: Path) -> None:
    console, page = log(), f"{tmp_path}/[x]/report.html"
    show_finished(console, finished(summary(), page, "sqlite:////tmp/mlflow.db"))
    told = said(console).splitlines()
    assert told[:6] == [
        "tiny: done in 1m35s; 8 of 9 trials finished, 1 failed; "
        "2.0 CPU-hours instead of 3.0 without sharing stages",
        "  Found   The essential sparsity is 30 %: [so] much.",
        "  Use     Recommended: LOTUS (one-shot level 30 %, final sparsity 70 %).",
        "  Saves   No MACs, because it keeps all patches; zeros alone speed nothing up.",
        "  Costs   1.0 point less than dense on test (94.0 % against 95.0 %): "
        "these models -2.0 to +0.0.",
        "  !       only [one] seed.",
    ]
    assert told[6] == f"  Report  {page}"
    command, link = told[7].split("   # then ")
    assert command.endswith("lotus ui --tracking-uri sqlite:////tmp/mlflow.db")
    assert link.startswith("http://127.0.0.1:5000/#/experiments/7/runs?viewStateShareKey=p")
    assert len(told) == 8


def test_two_warnings_are_shown_and_the_others_counted() -> None:
    found = summary(warnings=[f"Warning {n}." for n in range(5)])
    console = log()
    show_finished(console, finished(found, "/report.html", "sqlite:////x.db"))
    assert "Warning 1." in said(console)
    assert "Warning 2." not in said(console)
    assert "Report  /report.html   # with 3 more warnings\n" in said(console)
    console = log()
    show_finished(console, finished(found, None, "sqlite:////x.db"), ran=False)
    assert "!       3 more warnings: `lotus report` shows them\n" in said(console)
    assert said(console).startswith("tiny: nothing is missing; 8 of 9")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_paths_and_commands_are_whole_on_any_screen(width: int) -> None:
    console, page = screen(width), "/a/rather/long/folder/for/reports/of/sweeps/report.html"
    show_finished(console, finished(summary(), page, "sqlite:////tmp/mlflow.db"))
    assert f"Report  {page}\n" in said(console)
    assert "lotus ui --tracking-uri sqlite:////tmp/mlflow.db   # then http" in said(console)
    broken = [line for line in said(console).splitlines() if "Report" not in line]
    assert max(map(len, broken[:-1])) <= max(width, 110), "the first line is one as well"


def test_the_end_without_an_answer_says_so() -> None:
    console = log()
    nothing = answer(None, None)
    empty = summary(answer=nothing, recommended=None, warnings=[])
    show_finished(console, finished(empty, None, "postgresql://me:s3cret@db/x"))
    assert "The essential sparsity was not measured." in said(console)
    assert "None" not in said(console)
    assert "Recommended" not in said(console)
    assert "Report" not in said(console)
    assert "s3cret" not in said(console)


def test_the_end_says_that_issp_collapsed_where_it_did() -> None:
    console = log()
    found = {"sentences": ["The collapse appeared: 2 of 9 settings.", "More."], "collapse": True}
    show_finished(console, finished(summary(diagnosis=found), None, "sqlite:////x.db"))
    assert "ISSP    The collapse appeared: 2 of 9 settings.\n" in said(console)
    assert "More." not in said(console)
    for other in (None, found | {"collapse": False}):
        quiet = log()
        show_finished(quiet, finished(summary(diagnosis=other), None, "sqlite:////x.db"))
        assert "ISSP" not in said(quiet)


def test_a_server_is_its_own_user_interface() -> None:
    console = log()
    show_finished(console, finished(summary(), None, "http://host:5000"))
    (line,) = [line for line in said(console).splitlines() if "MLflow" in line]
    assert line.startswith("  MLflow  http://host:5000/#/experiments/7/")
    assert shown.ui_command("http://host:5000") == "http://host:5000"


@pytest.mark.parametrize("folder", ["my sweeps", "ärger", "a#1", "it's $HOME", "a;b & (c)*"])
def test_the_command_can_be_pasted_whatever_the_folder_is_called(folder: str) -> None:
    uri = f"sqlite:////home/{folder}/mlflow.db"
    asked = f"set -- {shown.ui_command(uri)}; printf '%s\\0' \"$@\""
    done = subprocess.run(["sh", "-c", asked], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[1:-1] == ["ui", "--tracking-uri", uri]


def test_what_failed_is_named_with_its_reason_its_run_and_the_way_on() -> None:
    console = log()
    failed = {"lotus-a": "StageInputError: lower `lr`\nmore", "dense-b": "its process died [bold]"}
    finished: Any = SimpleNamespace(failed=failed, runs={"lotus-a": "r1"}, failed_stages=1)
    show_failed(console, finished)
    told = said(console)
    assert "1 trial and 1 shared stage failed:\n  lotus-a: StageInputError: lower `lr`\n" in told
    assert "`lr`\n    log and traceback" in told
    assert "MLflow run r1, artifacts failure/" in told
    assert "  dense-b: its process died [bold]\n" in told
    assert "run the same command again: only these run" in told
    assert "more" not in told.split("Mend")[0]


def test_of_many_failures_some_are_named_and_the_others_counted() -> None:
    console = log()
    failed = {f"trial-{n}": "dense failed: no" for n in range(300)}
    finished: Any = SimpleNamespace(failed=failed, runs={}, failed_stages=0)
    show_failed(console, finished)
    told = said(console)
    assert told.startswith("300 trials failed:\n")
    assert told.count("dense failed: no") == 10
    assert "  and 290 more, which `lotus status` lists\n" in told
