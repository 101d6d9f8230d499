"""The command line: thin. Exit codes: 0 done, 1 failed trials, 2 wrong use, 130 interrupted."""

import json
import os
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
from orchestrator.commands.terminal import Terminal
from orchestrator.driver.interrupts import EXIT_CODE, INTERRUPTS
from orchestrator.planning.config import StorageSection, SweepConfig, TrackingSection
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import bundled, load_sweep
from orchestrator.remote.laptop import COMMANDS, print_status, remote_status
from orchestrator.versions import VERSION
from trials.errors import LotusError

Command = Callable[..., Any]

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
        help="Override a setting of the sweep file; may be given several times.",
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
        "--tracking-uri", callback=checked, help="Read from this MLflow store instead."
    )
    return option(command)


def with_tracking(sweep: SweepConfig, uri: str | None) -> SweepConfig:
    """The sweep, tracked elsewhere."""
    if uri is None:
        return sweep
    section = type(sweep.tracking)(uri=uri)
    return sweep.model_copy(update={"tracking": section})


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="lotus")
def cli() -> None:
    """Sweeps of LOTUS: sparse vision transformers on data lottery tickets.

    SWEEP is a YAML file or the name of a bundled sweep (`lotus list`).
    """


@cli.command("list")
def list_sweeps() -> None:
    """List the bundled sweeps."""
    for name, path in bundled().items():
        lines = path.read_text(encoding="utf-8").splitlines()
        first = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
        console.print(f"{name:<20}{first}", soft_wrap=True)


@cli.command()
@sweep_argument
@click.option("--address", help="Ray cluster: local (default), auto, or HOST:PORT.")
@click.option("--no-report", is_flag=True, help="Do not write the report at the end.")
def run(sweep: SweepConfig, address: str | None, no_report: bool) -> int:
    """Make what is missing of a sweep: again = continue, enlarged = run what is new."""
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
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(sweep: SweepConfig, as_json: bool) -> int:
    """Trials, unique stages, how many are stored, predicted device-hours. Runs nothing."""
    from orchestrator.commands.console import hours, trial_count
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
    if as_json:
        found = {
            "sweep": sweep.name,
            "trials": {"planned": planned.expected, "missing": missing + planned.more},
            "complete": planned.complete,
            **asdict(predicted),
            "names": [trial.name for trial in planned.trials],
        }
        click.echo(json.dumps(found, indent=1))
        return OK
    table = Table(title=Text(sweep.name), title_justify="left", show_header=False)
    table.add_row("trials", f"{trial_count(planned)}, of which {missing} to run")
    table.add_row("unique stages", f"{predicted.stages}, of which {predicted.stored} stored")
    table.add_row("shared by two trials or more", str(len(planned.shared)))
    basis = f"{100 * predicted.measured:.0f} % from this store's own measurements"
    if predicted.measured == 0:
        basis = "a guess: this store has measured nothing yet"
    table.add_row("predicted", f"{hours(predicted.device_hours)} ({basis})")
    table.add_row("store grows by", f"{predicted.bytes / 2**20:,.0f} MiB, of stages seen before")
    console.print(table)
    return OK


@cli.command()
@click.argument("sweep", metavar="[SWEEP]", required=False)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="As for `run`.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@tracking_option
@click.option("--address", metavar="URL", help="Also its job on this cluster, see `lotus submit`.")
def status(
    sweep: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    tracking_uri: str | None,
    address: str | None,
) -> int:
    """Trials done, running, failed and missing, with errors."""
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
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="As for `run`.")
@click.option("--store", "path", help="Folder or s3://; default: the sweep's, or lotus/store.")
@click.option("--dry-run", is_flag=True, help="Say what would be freed, remove nothing.")
@click.option("--old", is_flag=True, help="Also what is older than the first known sweep.")
@click.option("--force", is_flag=True, help="Also of sweeps whose run MLflow does not know.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def gc(
    sweep: str | None,
    overrides: tuple[str, ...],
    path: str | None,
    dry_run: bool,
    old: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Free store objects that no kept sweep needs; sweeps may be running."""
    from orchestrator.commands.collecting import asker, collect
    from orchestrator.commands.status import collected_json, describe_collected
    from orchestrator.storage.store import Store

    config = load_sweep(sweep, overrides) if sweep else None
    section = config.storage if config else StorageSection()
    store = Store(StorageSection(path=path).path if path else section.path)
    known = [TrackingSection().uri, *([config.tracking.uri] if config else [])]
    found = collect(store, asker(known, force), dry_run=dry_run, old=old)
    if as_json:
        click.echo(json.dumps(collected_json(found), indent=1))
    else:
        console.print(describe_collected(found), highlight=False, soft_wrap=True)
    return OK


@cli.command()
@sweep_argument
@tracking_option
@click.option("--output", type=click.Path(path_type=Path), help="Folder; default: the sweep's.")
def report(sweep: SweepConfig, tracking_uri: str | None, output: Path | None) -> int:
    """Make the report again, from the tracking store alone."""
    from orchestrator.reading.report import report as make_report

    page = make_report(with_tracking(sweep, tracking_uri), output)
    console.print(f"Report    {page}", soft_wrap=True)
    return OK


@cli.command()
@sweep_argument
@tracking_option
@click.option("--tolerance", type=click.FloatRange(0, 1, max_open=True), help="Fraction.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def select(
    sweep: SweepConfig, tracking_uri: str | None, tolerance: float | None, as_json: bool
) -> int:
    """The essential sparsity and the recommended setting."""
    from orchestrator.commands.status import describe_selection, selection_json, tracked_results
    from orchestrator.selection import select as choose

    wanted = sweep.essential.tolerance if tolerance is None else tolerance
    table, axes, curve = tracked_results(with_tracking(sweep, tracking_uri))
    found = choose(table, wanted, sweep.essential.detector, axes, curve)
    if as_json:
        click.echo(json.dumps(selection_json(found), indent=1))
    else:
        console.print(describe_selection(found), soft_wrap=True)
    return OK


@cli.command()
@sweep_argument
@tracking_option
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder, new.")
@click.option("--trial", help="Key, the beginning of one, or name; default: the recommended.")
@click.option(
    "--format",
    type=click.Choice(["safetensors", "onnx"]),
    default="safetensors",
    show_default=True,
    help="onnx: model.onnx as well.",
)
def export(
    sweep: SweepConfig, tracking_uri: str | None, output: Path, trial: str | None, format: Any
) -> int:
    """Write a trained model as files that plain timm loads."""
    from orchestrator.commands.export import export as write

    found = write(with_tracking(sweep, tracking_uri), output, trial, format)
    console.print(f"{found.trial}: written to {found.folder}", soft_wrap=True)
    for path in found.paths:
        size = f"{path.stat().st_size / 2**20:8.2f} MiB"
        console.print(f"  {size}  {path.name}", highlight=False, soft_wrap=True)
    loads = f'timm.create_model("local-dir:{found.folder.absolute()}", pretrained=True)'
    console.print(f"Load it   {loads}", highlight=False, soft_wrap=True)
    return OK


@cli.command()
@click.argument("sweep", metavar="[SWEEP]", required=False)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="As for `run`.")
@click.option("--address", help="Also check this Ray cluster.")
@click.option("--repair", is_flag=True, help="Mend runs in MLflow that differ from the store.")
def doctor(sweep: str | None, overrides: tuple[str, ...], address: str | None, repair: bool) -> int:
    """Check data, weights, store, tracking and devices before spending anything."""
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
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
def ui(sweep: str | None, tracking_uri: str | None, host: str, port: int) -> None:
    """Open the MLflow UI on the configured store."""
    uri = tracking_uri or (load_sweep(sweep).tracking.uri if sweep else TrackingSection().uri)
    uri = TrackingSection(uri=uri).uri
    if uri.startswith("http"):
        console.print(f"The tracking server is at {uri}")
        return
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.exists():
        raise LotusError(f"{path} does not exist: no sweep has run there yet")
    if uri.startswith("sqlite:///"):
        from orchestrator.tracking.places import for_server

        uri = for_server(path)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    artifacts = (path.parent / "artifacts").as_uri()
    command += ["--default-artifact-root", artifacts, "--host", host, "--port", str(port)]
    command += ["--workers", "1"]
    page = f"http://{host}:{port}/#/experiments?workflowType=machine_learning"
    console.print(f"MLflow UI on {page}  (Ctrl-C ends it)", soft_wrap=True)
    # Replaced, not started below: Ctrl-C and signals then reach the server itself. Its job runner
    # is for evaluating language models and costs four processes.
    sys.stdout.flush()
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "GIT_PYTHON_REFRESH": "quiet"}
    os.execve(sys.executable, command, os.environ | environment)


@cli.command()
def schema() -> int:
    """JSON Schema of the sweep file, for editors."""
    click.echo(json.dumps(SweepConfig.model_json_schema(), indent=1))
    return OK


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Entry point of `lotus`: errors that a user can mend are shown without a traceback."""
    INTERRUPTS.install(exits=True)
    notices.tell(lambda text: errors.print(f"! {text}", style="yellow", soft_wrap=True))
    try:
        code = cli.main(standalone_mode=False)
    except SweepError as error:
        code = _say(str(error), WRONG)
    except LotusError as error:
        code = _say(f"Error: {error}", FAILED)
    except click.ClickException as error:
        error.show()
        code = WRONG
    except (KeyboardInterrupt, click.Abort):
        code = _say(
            "Interrupted. Everything finished is kept; the same command continues.", INTERRUPTED
        )
    sys.exit(code if isinstance(code, int) else OK)


def _note(text: str) -> None:
    console.print(text, soft_wrap=True)


def _say(text: str, code: int) -> int:
    errors.print(text, highlight=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    main()
