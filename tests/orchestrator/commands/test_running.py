"""What `lotus run` asks of the driver."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.driver import driver
from trials.errors import LotusError


@pytest.mark.parametrize(
    ("args", "no_live", "report", "live"),
    [
        ([], None, True, True),
        ([], "false", True, True),
        ([], "true", True, False),
        (["--no-live"], None, True, False),
        (["--no-report"], None, False, False),
    ],
)
def test_a_report_stands_beside_a_run_unless_somebody_switches_it_off(
    args: list[str],
    no_live: str | None,
    report: bool,
    live: bool,
    sweep_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def run(sweep: Any, **options: Any) -> None:
        asked.update(options)
        raise LotusError("enough is known")

    monkeypatch.setattr(driver, "run", run)
    env = {"LOTUS_NO_LIVE": no_live}
    CliRunner().invoke(cli, ["run", str(sweep_file()), *args], env=env)
    assert (asked["report"], asked["live"]) == (report, live)
