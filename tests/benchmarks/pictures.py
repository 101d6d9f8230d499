"""The pictures of the README, from a finished sweep: the end of a run, the report, the MLflow UI.

    make demo && .venv/bin/python tests/benchmarks/pictures.py digits

Writes `docs/pictures/{terminal.svg,report.png,mlflow.png}`. It needs Chromium, and computes
nothing: a sweep that is not finished is refused.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import Console
from rich.text import Text

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.tracking.pages import trials_page
from orchestrator.tracking.tracker import find_sweep
from tests.chromium import browser
from tests.orchestrator.programs import free_port

FOLDER = Path(__file__).parents[2] / "docs/pictures"
LOTUS = [sys.executable, "-m", "orchestrator.cli"]
COLUMNS = 150

CLOSE_THE_ASSISTANT = """
[...document.querySelectorAll("button")]
    .filter((one) => one.getBoundingClientRect().left > 1300 && one.innerText === "")
    .filter((one) => one.getBoundingClientRect().top < 80).at(-1)?.click()
"""
"""MLflow 3.17 opens a panel of its own at the right."""


def status_of(name: str) -> dict[str, int]:
    """How many trials are in which state."""
    told = subprocess.run([*LOTUS, "status", name, "--json"], check=True, capture_output=True)
    found: dict[str, int] = json.loads(told.stdout)[0]
    return found


def terminal(name: str, to: Path) -> None:
    """What `lotus run` ends with."""
    told = subprocess.run(
        [*LOTUS, "run", name], check=True, capture_output=True, text=True,
        env=os.environ | {"FORCE_COLOR": "1"},
    )  # fmt: skip
    home = str(Path.cwd())
    shown = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    shown.print(Text("$ lotus run " + name, style="bold"))
    shown.print(Text.from_ansi(told.stdout.replace(home + "/", "")))
    to.write_text(shown.export_svg(title="lotus run"), encoding="utf-8")


@contextlib.contextmanager
def user_interface(name: str) -> Iterator[str]:
    """The address of the MLflow UI of a sweep, which is ended afterwards."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    running = subprocess.Popen([*LOTUS, "ui", name, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{base}/health", timeout=2).close()
                break
            time.sleep(0.5)
        yield base
    finally:
        running.terminate()
        running.wait(30)


def pages(sweep: SweepConfig, name: str, report: Path, folder: Path) -> None:
    """The first screen of the report, and the trials in the MLflow UI."""
    where = find_sweep(sweep)
    assert where is not None
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as seen:
        seen.open(report)
        time.sleep(2)  # figures are drawn as they come into sight
        seen.picture(folder / "report.png")
        with user_interface(name) as base:
            seen.size(1400, 900)
            seen.ask("Page.navigate", url=trials_page(base, where.experiment_id, where.parent))
            time.sleep(20)  # it asks for runs and their values one after the other
            seen.run(CLOSE_THE_ASSISTANT)
            time.sleep(2)
            seen.picture(folder / "mlflow.png")


def main() -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep")
    name = parser.parse_args().sweep
    counts = status_of(name)
    if counts["finished"] < counts["planned"]:
        parser.error(f"{name} is not finished ({counts}): run it first")
    FOLDER.mkdir(exist_ok=True)
    sweep = load_sweep(name)
    terminal(name, FOLDER / "terminal.svg")
    report = Path("lotus/reports") / sweep.name / "report.html"
    pages(sweep, name, report, FOLDER)


if __name__ == "__main__":
    main()
