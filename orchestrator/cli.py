"""The command line: thin. Exit codes: 0 done, 1 failed trials, 2 wrong use, 130 interrupted."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from orchestrator import notices
from orchestrator.commands.importing import import_weights
from orchestrator.commands.terminal import Terminal
from orchestrator.driver.interrupts import ENDED, EXIT_CODE, INTERRUPTS
from orchestrator.planning.config import (
    StorageSection,
    SweepConfig,
    TrackingSection,
    default_tracking,
)
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import about, bundled, load_sweep
from orchestrator.remote.laptop import COMMANDS, print_status, remote_status
from orchestrator.versions import VERSION
from trials.errors import LotusError

Command = Callable[..., Any]

OVERRIDE = "Override a setting of the sweep file. Can be given several times."

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, EXIT_CODE

console = Terminal()
errors = Terminal(stderr=True)


def sweep_argument(command: Command) -> Command:
    """SWEEP and --set, loaded and checked; a wrong file ends with code 2."""

    @click.argument("sweep", metavar="SWEEP")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="A.B=VALUE",
        help=OVERRIDE,
    )
    @wraps(command)
    def loaded(sweep: str, overrides: tuple[str, ...], **options: Any) -> Any:
        return command(sweep=load_sweep(sweep, overrides), **options)

    return loaded


def tracking_option(command: Command) -> Command:
    """--tracking-uri in place of the file's `tracking.uri`."""

    def checked(ctx: click.Context, param: click.Parameter, uri: str | None) -> str | None:
        try:
            return TrackingSection(uri=uri).uri if uri else None
        except ValidationError as error:
            raise click.BadParameter(str(error.errors()[0]["ctx"]["error"])) from None

    option = click.option(
        "--tracking-uri",
        metavar="URI",
        callback=checked,
        help="Use this MLflow store in place of the sweep file's.",
    )
    return option(command)


def with_tracking(sweep: SweepConfig, uri: str | None) -> SweepConfig:
    """The sweep, tracked elsewhere."""
    if uri is None:
        return sweep
    section = type(sweep.tracking)(uri=uri)
    return sweep.model_copy(update={"tracking": section})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(VERSION, prog_name="lotus")
def cli() -> None:
    """Run, track and report sweeps of LOTUS, which makes vision transformers sparse.

    SWEEP is a YAML file or the name of a bundled sweep (see `lotus list`). Ctrl-C ends a command
    cleanly, and the same command continues.
    """


@cli.command("list")
def list_sweeps() -> None:
    """List the bundled sweeps and what each is for."""
    if not console.is_terminal:  # a line each, for programs
        for name, path in bundled().items():
            console.print(f"{name:<20}{about(path)}", soft_wrap=True, highlight=False)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, path in bundled().items():
        table.add_row(Text(name, style="bold"), Text(about(path)))
    console.print(table)


@cli.command()
@sweep_argument
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to run on: local (default), auto, or HOST:PORT.",
)
@click.option("--no-report", is_flag=True, help="Do not write a report at the end.")
def run(sweep: SweepConfig, address: str | None, no_report: bool) -> int:
    """Run a sweep.

    Run it again to resume, or to run newly added trials. A finished sweep runs nothing.
    """
    from orchestrator.commands.console import (
        Display,
        duration,
        show_failed,
        show_finished,
        trial_count,
    )
    from orchestrator.driver import driver

    displays: list[Display] = []

    def watch(planned: Any, trials: int, stages: int) -> Display:
        console.print(
            f"{sweep.name}: {trials} of {trial_count(planned)} trials to run, "
            f"{stages} shared stages first",
            markup=False,
        )
        # Bound to this stream, because standard output is closed to Tune while it runs.
        display = Display(Terminal(file=sys.stdout), trials, stages)
        displays.append(display.__enter__())
        return displays[0]

    try:
        finished = driver.run(sweep, address=address, report=not no_report, watch=watch, say=_note)
    finally:
        for display in displays:
            display.__exit__()
    for notice in finished.notices:
        console.print(f"  ! MLflow: {notice}", style="yellow", soft_wrap=True)
    if displays:
        console.print(f"{sweep.name}: done in {duration(finished.wall_s)}")
    else:
        count = len(finished.plan.trials)
        console.print(f"{sweep.name}: nothing is missing, all {count} trials are finished")
    show_finished(console, finished)
    if finished.failed:
        show_failed(errors, finished)
    return FAILED if finished.failed else OK


@cli.command()
@sweep_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def plan(sweep: SweepConfig, as_json: bool) -> int:
    """Show what a sweep would run, and what it would cost.

    Counts the trials, the stages that they share and those that are already stored, and predicts
    the device-hours. Runs nothing.
    """
    from orchestrator.commands.console import trial_count
    from orchestrator.costs import device_time
    from orchestrator.driver.state import look
    from orchestrator.memory import keep
    from orchestrator.planning.forecasting import forecast
    from orchestrator.planning.plan import plan as make_plan
    from orchestrator.storage.store import Store

    planned = make_plan(sweep)
    keep()  # all of it stays until this process ends, in a moment
    state = look(sweep, planned)
    if state is not None:
        planned = state.plan
    done = state.finished if state else set()
    predicted = forecast(planned, Store(sweep.storage.path).entries(), done)
    missing = sum(trial.key not in done for trial in planned.trials)
    children = state.children if state else {}
    failed = sum(
        trial.key in children and children[trial.key].status in ("FAILED", "KILLED")
        for trial in planned.trials
    )
    if as_json:
        found = {
            "sweep": sweep.name,
            "trials": {
                "planned": planned.expected,
                "missing": missing + planned.more,
                "failed": failed,
            },
            "complete": planned.complete,
            **asdict(predicted),
            "names": [trial.name for trial in planned.trials],
        }
        click.echo(json.dumps(found, indent=1))
        return OK
    table = Table(title=Text(sweep.name), title_justify="left", show_header=False)
    again = f", {failed} of them failed before" if failed else ""
    table.add_row("trials", f"{trial_count(planned)}, of which {missing} to run{again}")
    table.add_row("unique stages", f"{predicted.stages}, of which {predicted.stored} stored")
    table.add_row("shared by two trials or more", str(len(planned.shared)))
    basis = f"{100 * predicted.measured:.0f} % from this store's own measurements"
    if predicted.measured == 0:
        basis = "a guess: this store has measured nothing yet"
    device = "gpu" if sweep.resources.gpu else "cpu"
    said = device_time(predicted.device_hours, device)
    if predicted.measured > 0 and predicted.error_factor is not None:
        said += f", usually within ×{predicted.error_factor:.1f}"
    table.add_row("predicted", f"{said} ({basis})")
    table.add_row("store grows by", f"{predicted.bytes / 2**20:,.0f} MiB, of stages seen before")
    console.print(table)
    return OK


@cli.command()
@click.argument("sweep", metavar="[SWEEP]", required=False)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help=OVERRIDE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@tracking_option
@click.option(
    "--address",
    metavar="URL",
    help="Also show its job on this cluster (see `lotus submit`).",
)
def status(
    sweep: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    tracking_uri: str | None,
    address: str | None,
) -> int:
    """Show how many trials are done, running, failed and missing.

    Lists the errors of those that failed. Without SWEEP, shows every sweep in the tracking store.
    """
    from orchestrator.commands.status import all_sweeps, describe_store, describe_waiting, of_sweep

    waiting = ""
    if sweep is None:
        rows = all_sweeps(tracking_uri)
    elif address:
        config = load_sweep(sweep, overrides)
        return remote_status(config, with_tracking(config, tracking_uri), address, as_json)
    else:
        config = with_tracking(load_sweep(sweep, overrides), tracking_uri)
        rows = [of_sweep(config)]
        waiting = describe_waiting(config, rows[0]["waiting"])
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return OK
    print_status(console, rows)
    if waiting:
        console.print(Text(f"  {waiting}", style="yellow"), soft_wrap=True)
    for line in dict.fromkeys(describe_store(row["store"]) for row in rows if row["store"]):
        console.print(line, highlight=False, soft_wrap=True)
    return OK


@cli.command()
@click.argument("sweep", metavar="[SWEEP]", required=False)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help=OVERRIDE)
@click.option(
    "--store",
    "path",
    metavar="PLACE",
    help="Store to clean up: a folder or s3://. Default: the sweep's.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be freed, but remove nothing.")
@click.option(
    "--old", is_flag=True, help="Also remove results that are older than every known sweep."
)
@click.option(
    "--force",
    is_flag=True,
    help="Also remove results of sweeps whose run MLflow does not know.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def gc(
    sweep: str | None,
    overrides: tuple[str, ...],
    path: str | None,
    dry_run: bool,
    old: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Remove stored results that no sweep needs any more.

    Sweeps may be running meanwhile. What a sweep in the tracking store needs is kept.
    """
    from orchestrator.commands.collecting import asker, collect
    from orchestrator.commands.status import collected_json, describe_collected
    from orchestrator.storage.store import Store

    config = load_sweep(sweep, overrides) if sweep else None
    section = config.storage if config else StorageSection()
    store = Store(StorageSection(path=path).path if path else section.path)
    known = [default_tracking(), *([config.tracking.uri] if config else [])]
    found = collect(store, asker(known, force), dry_run=dry_run, old=old)
    if as_json:
        click.echo(json.dumps(collected_json(found), indent=1))
    else:
        console.print(describe_collected(found), highlight=False, soft_wrap=True)
    return OK


@cli.command()
@sweep_argument
@tracking_option
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder to write to. Default: the sweep's own.",
)
def report(sweep: SweepConfig, tracking_uri: str | None, output: Path | None) -> int:
    """Write a sweep's report again.

    Everything is read from the tracking store, so this works on any machine that reaches it.
    """
    from orchestrator.reading.report import report as make_report

    page = make_report(with_tracking(sweep, tracking_uri), output)
    console.print(f"Report    {page}", soft_wrap=True)
    return OK


@cli.command()
@sweep_argument
@tracking_option
@click.option(
    "--tolerance",
    metavar="FRACTION",
    type=click.FloatRange(0, 1, max_open=True),
    help="Accuracy that may be lost: 0.01 is one point. Default: the sweep's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def select(
    sweep: SweepConfig, tracking_uri: str | None, tolerance: float | None, as_json: bool
) -> int:
    """Show the essential sparsity and the recommended setting."""
    from orchestrator.commands.status import describe_selection, selection_json, tracked_results
    from orchestrator.selection import select as choose

    wanted = sweep.essential.tolerance if tolerance is None else tolerance
    seen = tracked_results(with_tracking(sweep, tracking_uri))
    found = choose(
        seen.trials,
        wanted,
        sweep.essential.detector,
        seen.axes,
        seen.curve,
        seen.outcomes(wanted),
    )
    if as_json:
        click.echo(json.dumps(selection_json(found), indent=1))
    else:
        console.print(describe_selection(found), soft_wrap=True)
    return OK


@cli.command()
@sweep_argument
@tracking_option
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write to. It must not hold an export yet.",
)
@click.option(
    "--trial",
    metavar="TRIAL",
    help="Trial to export: its name, or its key or the beginning of that. Default: the "
    "recommended one.",
)
@click.option(
    "--format",
    type=click.Choice(["safetensors", "onnx"]),
    default="safetensors",
    show_default=True,
    help="With onnx, model.onnx is written as well.",
)
def export(
    sweep: SweepConfig, tracking_uri: str | None, output: Path, trial: str | None, format: Any
) -> int:
    """Write a trained model to a folder that timm can load."""
    from orchestrator.commands.export import export as write

    found = write(with_tracking(sweep, tracking_uri), output, trial, format)
    console.print(f"{found.trial}: written to {found.folder}", soft_wrap=True)
    for path in found.paths:
        size = f"{path.stat().st_size / 2**20:8.2f} MiB"
        console.print(f"  {size}  {path.name}", highlight=False, soft_wrap=True)
    named = json.dumps(f"local-dir:{found.folder.absolute()}", ensure_ascii=False)
    loads = f"timm.create_model({named}, pretrained=True)"
    console.print(f"Load it   {loads}", highlight=False, soft_wrap=True)
    return OK


@cli.command()
@click.argument("sweep", metavar="[SWEEP]", required=False)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help=OVERRIDE)
@click.option("--address", metavar="ADDRESS", help="Also check this Ray cluster.")
@click.option("--repair", is_flag=True, help="Mend runs in MLflow that differ from the store.")
def doctor(sweep: str | None, overrides: tuple[str, ...], address: str | None, repair: bool) -> int:
    """Check that a sweep can run, before anything is spent.

    Looks at its data, model, weights, store, tracking store and devices. Without SWEEP, shows
    this machine.
    """
    from orchestrator.commands.doctor import examine

    config = load_sweep(sweep, overrides) if sweep else None
    bad = 0
    for check in examine(config, address, repair):
        mark, style = ("ok", "green") if check.ok else ("NO", "red")
        bad += not check.ok
        console.print(Text.assemble((f"{mark}  ", style), f"{check.name}: {check.found}"))
    return FAILED if bad else OK


@cli.command()
@click.argument("sweep", metavar="[SWEEP]", required=False)
@tracking_option
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    help="Port to serve on. Default: 5000, or the next that is free.",
)
def ui(sweep: str | None, tracking_uri: str | None, host: str, port: int | None) -> int:
    """Serve the MLflow UI.

    It shows the tracking store of a sweep or, without SWEEP, the default one.
    """
    from orchestrator.commands.ui import serve, tracked_at

    uri = tracking_uri or (load_sweep(sweep).tracking.uri if sweep else default_tracking())
    if uri.startswith("http"):
        _note(tracked_at(uri))
        return OK
    return serve(uri, host, port, _note)


@cli.command()
def schema() -> int:
    """Print the JSON Schema of sweep files, for editors."""
    click.echo(json.dumps(SweepConfig.model_json_schema(), indent=1))
    return OK


for _command in (import_weights, *COMMANDS):
    cli.add_command(_command)


def main(listens: bool = False) -> None:
    """What `lotus` does: errors that a user can mend are shown without a traceback.

    Args:
        listens: this process hears signals already; see `entry.py`.
    """
    if not listens:
        INTERRUPTS.install(exits=True)
    notices.tell(lambda text: errors.print(f"! {text}", style="yellow", soft_wrap=True))
    try:
        code = cli.main(standalone_mode=False)
        INTERRUPTS.check()
    except SweepError as error:
        code = _say(str(error), WRONG)
    except LotusError as error:
        code = _say(f"Error: {error}", FAILED)
    except click.ClickException as error:
        error.show()
        code = WRONG
    except (KeyboardInterrupt, click.Abort):
        INTERRUPTS.taken()
        code = _say(ENDED, INTERRUPTED)
    sys.exit(code if isinstance(code, int) else OK)


def _note(text: str) -> None:
    console.print(text, soft_wrap=True)


def _say(text: str, code: int) -> int:
    errors.print(text, highlight=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    from orchestrator.entry import main as program

    program()
