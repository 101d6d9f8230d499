"""A report beside a running sweep: what its process is told, when it starts and how it ends."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator import load_sweep
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import bundled, resolved_yaml
from orchestrator.reading import alongside
from orchestrator.reading.again import report_command
from orchestrator.reading.standing import report_folder
from orchestrator.tracking.tracker import Address, open_sweep
from trials.errors import LotusError

Tiny = Callable[..., SweepConfig]


@pytest.mark.parametrize("name", sorted(bundled()))
def test_the_process_is_told_the_very_sweep(name: str) -> None:
    sweep = load_sweep(name, ["finetune.epochs=3"])
    found = alongside.of_text(alongside.as_text(sweep))
    assert resolved_yaml(found) == resolved_yaml(sweep)
    address = Address("sqlite:///x.db", "1", "2")
    assert report_command(found, address) == report_command(sweep, address)


def test_no_password_stands_on_the_command_line(tiny: Tiny) -> None:
    sweep = tiny("tracking: {uri: 'postgresql://me:secret@host/db'}\n")
    assert "secret" in alongside.as_text(sweep)
    assert not any("secret" in word for word in alongside.COMMAND)


def started(program: str, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """Has a little program started in place of the real one; the processes, as they start."""
    monkeypatch.setattr(alongside, "COMMAND", (sys.executable, "-S", "-c", program))
    made: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def start(*args: Any, **options: Any) -> Any:
        made.append(popen(*args, **options))
        return made[-1]

    monkeypatch.setattr(alongside.subprocess, "Popen", start)
    return made


def wait_for(there: Callable[[], Any], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_short_sweep_starts_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    made = started("", monkeypatch)
    with alongside.report_alongside(tiny(), print, first_s=60):
        pass
    assert made == []


def test_it_ends_with_the_sweep(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    made, said = started("import time; time.sleep(60)", monkeypatch), list[str]()
    with alongside.report_alongside(tiny(), said.append, first_s=0):
        wait_for(lambda: made)
        assert made[0].poll() is None
    assert made[0].poll() is not None
    assert said == [], "it was ended, and did not fail"


def test_why_it_failed_is_said_and_ends_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    made = started("import sys; print('no room'); sys.exit('no room left')", monkeypatch)
    with alongside.report_alongside(tiny(), said.append, first_s=0):
        wait_for(lambda: made and made[0].poll() is not None)
    assert said == ["the report could not be renewed while the sweep ran: no room left"]


def test_the_page_of_an_interrupted_sweep_no_longer_loads_itself(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    started("", monkeypatch)
    sweep = tiny()
    page = report_folder(sweep) / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<body{alongside.LIVE}>so far</body>", "utf-8")
    with suppress(KeyboardInterrupt), alongside.report_alongside(sweep, print, first_s=60):
        raise KeyboardInterrupt
    assert page.read_text("utf-8") == "<body>so far</body>"
    alongside.settle(page.with_name("none.html"))


def test_its_marker_is_that_of_the_page() -> None:
    template = Path(alongside.__file__).parents[2] / "dashboards/report.html.j2"
    assert f"<body{{% if live %}}{alongside.LIVE}{{% endif %}}>" in template.read_text("utf-8")


def test_a_report_that_cannot_be_written_is_tried_again_until_the_sweep_ends(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def renewed(sweep: SweepConfig, *, clock: Callable[[], float], sleep: Any) -> Any:
        tries.append(clock())
        raise LotusError("MLflow is away")

    def wait(seconds: float) -> None:
        if len(tries) == 3:
            sys.exit(0)

    monkeypatch.setattr("orchestrator.reading.live.renewed", renewed)
    monkeypatch.setattr(alongside, "_until_input_ends", wait)
    monkeypatch.setattr(alongside.os, "nice", lambda _: None)
    monkeypatch.setattr(alongside.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(alongside.as_text(tiny()) + "\n"))
    with pytest.raises(SystemExit):
        alongside.main()
    assert len(tries) == 3
    assert tries[0] == 0.0, "what its start took counts"


def test_it_waits_until_its_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    with os.fdopen(reads) as told, os.fdopen(writes, "w") as driver:
        monkeypatch.setattr(sys, "stdin", told)
        alongside._until_input_ends(0.01)
        driver.close()
        with pytest.raises(SystemExit) as ended:
            alongside._until_input_ends(60)
    assert ended.value.code == 0


@pytest.mark.slow
def test_the_process_writes_a_page_that_says_it_is_not_finished(tracked: SweepConfig) -> None:
    from mlflow import MlflowClient

    where = open_sweep(tracked)
    MlflowClient(where.uri).update_run(where.parent, "RUNNING")
    page = report_folder(tracked) / "report.html"
    with alongside.report_alongside(tracked, pytest.fail, first_s=0):
        wait_for(page.exists, within_s=300)
    assert alongside.LIVE in page.read_text("utf-8")
    assert not list(page.parent.glob("*.tmp"))
