"""`lotus plan` and `lotus run`."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import (
    FAILED,
    OK,
    console,
    errors,
    json_option,
    note,
    sweep_argument,
)
from orchestrator.commands.terminal import Terminal, show_line, show_pairs
from orchestrator.planning.config import SweepConfig

if TYPE_CHECKING:
    from orchestrator.driver.driver import Finished


@click.command()
@sweep_argument
@json_option
def plan(sweep: SweepConfig, as_json: bool) -> int:
    """Show what a sweep would run, and what it would cost.

    Counts the trials, the stages that they share and those that are already stored, and predicts
    the device-hours. Runs nothing. Data and weights that are not there yet are assumed as far as
    they are known, and it says so.
    """
    from orchestrator.commands.foreseeing import foresee, foreseen_json, foreseen_rows

    seen = foresee(sweep)
    if as_json:
        click.echo(json.dumps(foreseen_json(seen), indent=1))
        return OK
    show_line(console, f"{seen.plan.sweep.name}:")
    show_pairs(console, list(foreseen_rows(seen)))
    for line in seen.assumed:
        show_line(console, f"  ! {line}", "yellow")
    return OK


@click.command()
@sweep_argument
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to run on: local (default), auto, or HOST:PORT.",
)
@click.option("--no-report", is_flag=True, help="Do not write a report.")
@click.option(
    "--no-live",
    is_flag=True,
    envvar="LOTUS_NO_LIVE",
    show_envvar=True,
    help="Write the report at the end only.",
)
def run(sweep: SweepConfig, address: str | None, no_report: bool, no_live: bool) -> int:
    """Run a sweep.

    Run it again to resume, or to run newly added trials. A finished sweep runs nothing. While it
    runs, the report is written again now and then, by at most a twentieth of a core.
    """
    from orchestrator.commands.console import trial_count
    from orchestrator.commands.progress import Display
    from orchestrator.driver import driver
    from orchestrator.reading.standing import report_folder

    live = not (no_report or no_live)
    displays: list[Display] = []

    def watch(planned: Any, trials: int, stages: int) -> Display:
        counted = f"{trials} of {trial_count(planned)} trials to run"
        show_line(console, f"{sweep.name}: {counted}, {stages} shared stages first")
        if live:
            page = report_folder(sweep) / "report.html"
            show_line(console, f"report so far, from half a minute on: {page}")
        # Bound to this stream, because standard output is closed to Tune while it runs.
        display = Display(Terminal(file=sys.stdout), trials, stages)
        displays.append(display.__enter__())
        return displays[0]

    try:
        finished = driver.run(
            sweep, address=address, report=not no_report, live=live, watch=watch, say=note
        )
    finally:
        for display in displays:
            display.__exit__()
    return _show(sweep, finished, ran=bool(displays))


def _show(sweep: SweepConfig, finished: "Finished", *, ran: bool) -> int:
    """What a sweep has come to, and the exit code that says it."""
    from orchestrator.commands.console import show_failed, show_finished

    for notice in finished.notices:
        show_line(console, f"  ! MLflow: {notice}", "yellow")
    show_finished(console, finished, ran=ran)
    if finished.failed:
        show_failed(errors, finished)
    return FAILED if finished.failed else OK
