"""What people see in the terminal."""

import io
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from rich.console import Console

from orchestrator.commands import console as shown
from orchestrator.commands.console import Display, show_failed, show_finished
from orchestrator.driver.queue import Item
from orchestrator.selection.answer import answer


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (59.4, "59s"), (59.6, "1m00s"), (95, "1m35s"), (3600, "1h00m"), (9000, "2h30m")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert shown.duration(seconds) == text


def screen() -> Console:
    """A terminal that is a file."""
    return Console(file=io.StringIO(), width=200)


def text(console: Console) -> str:
    """What was printed."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def item(name: str, kind: Literal["stage", "trial"] = "trial") -> Item:
    """Something that runs, as the watcher is told of it."""
    return Item(key=name, name=name, kind=kind)


def test_failures_are_shown_at_once_and_literally() -> None:
    console = screen()
    with Display(console, trials=2, stages=1) as display:
        display.ended(item("dense", "stage"), "[red]no[/red] memory [/]")
        for name in "ab":
            display.started(item(name))
        display.ended(item("a"), "[bold]broken[/nothing]")
        display.ended(item("b"), None)
    assert "dense failed: [red]no[/red] memory [/]" in text(console)
    assert "a failed: [bold]broken[/nothing]" in text(console)
    assert (display.done["trial"], display.failed) == (1, 1)


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(shown, "BEGAN", 0.0)
    monkeypatch.setattr(shown.time, "monotonic", lambda: clock[0])
    console = screen()
    with Display(console, trials=4, stages=2) as display:
        stages = [item(name, "stage") for name in ("dense", "pretrained")]
        display.begins([*stages, *map(item, "abcd")], 0)
        display.room(2, 2, True)
        display.started(item("dense", "stage"))
        clock[0] = 11
        display.tick()
        assert "shared stages 0/2 · now: dense · 11s · estimating the time left" in text(console)
        display.tick()  # not again at once
        assert text(console).count("shared stages") == 1
        display.ended(item("dense", "stage"), None)
        display.ended(item("pretrained", "stage"), None)
        for name in "abc":
            display.started(item(name))
        display.took(item("a"), 20.0)
        display.ended(item("a"), None)
        clock[0] = 30
        display.tick()
    assert (
        "trials 1 done, 2 running, 0 failed of 4 · shared stages 2/2 · now: b, c · 30s · 26s left"
    ) in text(console)


def test_what_happens_after_the_last_trial_is_told_and_its_seconds_are_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(shown, "BEGAN", 0.0)
    monkeypatch.setattr(shown.time, "monotonic", lambda: clock[0])
    console = screen()
    with Display(console, trials=1, stages=0) as display:
        display.begins([item("a")], 0)
        assert "now: starting Ray" in display._line().plain
        display.started(item("a"))
        clock[0] = 9
        display.ended(item("a"), None)
        assert display._line().plain.endswith("now: reading the results · 9s · seconds left")


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
        "recommended": {"name": "lotus-s0.30-seed1", "n": 3},
        "cost": {"device": "cpu", "words": "2.0 CPU-hours instead of 3.0 without sharing stages"},
        "warnings": ["only [one] seed"],
    } | changes  # fmt: skip


def finished(found: dict[str, Any], report: str | None, uri: str) -> Any:
    """As much of a finished sweep as is shown."""
    sweep = SimpleNamespace(tracking=SimpleNamespace(uri=uri))
    plan, address = SimpleNamespace(sweep=sweep), SimpleNamespace(experiment_id="7", parent="p")
    return SimpleNamespace(summary=found, report=report, plan=plan, address=address)


def test_the_end_shows_the_answer_and_where_to_look(tmp_path: Path) -> None:
    console = screen()
    page = f"{tmp_path}/[x]/report.html"
    show_finished(console, finished(summary(), page, "sqlite:////tmp/mlflow.db"))
    out = text(console)
    for fragment in (
        *summary()["answer"].values(),
        "lotus-s0.30-seed1, the median of its 3 seeds on validation",
        "8 finished of 9, 1 failed",
        "2.0 CPU-hours instead of 3.0 without sharing stages",
        "! only [one] seed",
        f"Report    {page}",
        "lotus ui --tracking-uri sqlite:////tmp/mlflow.db",
        "http://127.0.0.1:5000/#/experiments/7/runs?viewStateShareKey=p&workflowType=machine_learning",
    ):
        assert fragment in out


def test_the_end_without_an_answer_says_so() -> None:
    console = screen()
    nothing = answer(None, None)
    empty = summary(answer=nothing, recommended=None, warnings=[])
    show_finished(console, finished(empty, None, "postgresql://me:s3cret@db/x"))
    assert "The essential sparsity was not measured." in text(console)
    assert "None" not in text(console)
    assert "Recommended" not in text(console)
    assert "Report" not in text(console)
    assert "s3cret" not in text(console)


def test_the_end_says_whether_issp_collapsed_where_that_was_diagnosed() -> None:
    console = screen()
    said = {"sentences": ["The collapse appeared: 2 of 9 settings.", "More."], "collapse": True}
    show_finished(console, finished(summary(diagnosis=said), None, "sqlite:////x.db"))
    assert "ISSP" in text(console)
    assert "The collapse appeared: 2 of 9 settings." in text(console)
    assert "More." not in text(console)
    other = screen()
    show_finished(other, finished(summary(diagnosis=None), None, "sqlite:////x.db"))
    assert "ISSP" not in text(other)


def test_a_server_is_its_own_user_interface() -> None:
    assert shown.ui_command("http://host:5000") == "http://host:5000"


@pytest.mark.parametrize("folder", ["my sweeps", "ärger", "a#1", "it's $HOME", "a;b & (c)*"])
def test_the_command_can_be_pasted_whatever_the_folder_is_called(folder: str) -> None:
    uri = f"sqlite:////home/{folder}/mlflow.db"
    asked = f"set -- {shown.ui_command(uri)}; printf '%s\\0' \"$@\""
    done = subprocess.run(["sh", "-c", asked], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[1:-1] == ["ui", "--tracking-uri", uri]


def test_an_attempt_that_failed_is_said_in_one_line_and_is_no_failure() -> None:
    console = Console(file=io.StringIO(), width=40)
    display = Display(console, trials=1, stages=0)
    item = Item(key="k", name="lotus-s0.30-d0.25-f0.50-seed0", kind="trial")
    display.started(item)
    display.again(item, "its process was ended because the node ran out of memory")
    assert "seed0: its process was ended because the node ran out of memory; it is" in text(console)
    assert (display.failed, display.running) == (0, {})


def test_what_failed_is_named_with_its_reason_its_run_and_the_way_on() -> None:
    console = Console(file=io.StringIO(), width=60)
    failed = {"lotus-a": "StageInputError: lower `lr`\nmore", "dense-b": "its process died [bold]"}
    finished: Any = SimpleNamespace(failed=failed, runs={"lotus-a": "r1"}, failed_stages=1)
    show_failed(console, finished)
    said = text(console)
    assert "1 trial and 1 shared stage failed:\n  lotus-a: StageInputError: lower `lr`\n" in said
    assert "`lr`\n    log and traceback" in said
    assert "MLflow run r1, artifacts failure/" in said
    assert "  dense-b: its process died [bold]\n" in said
    assert "run the same command again: only these run" in said
    assert "more" not in said.split("Mend")[0]
