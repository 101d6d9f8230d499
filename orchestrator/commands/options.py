"""What the commands have in common: options, exit codes, and where they print."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from pydantic import ValidationError

from orchestrator.commands.terminal import Terminal, show_text
from orchestrator.driver.interrupts import EXIT_CODE
from orchestrator.planning import sweepfile
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sections import TrackingSection

Command = Callable[..., Any]

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, EXIT_CODE

console = Terminal()
errors = Terminal(stderr=True)

overrides_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=VALUE",
    help="Override a setting of the sweep file. Can be given several times.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def complete_sweep(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What a shell offers for SWEEP: bundled sweeps, and files."""
    names = [name for name in sweepfile.bundled() if name.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


optional_sweep = click.argument(
    "sweep", metavar="[SWEEP]", required=False, shell_complete=complete_sweep
)


def sweep_options(command: Command) -> Command:
    """SWEEP and --set, as they were given."""
    argument = click.argument("sweep", metavar="SWEEP", shell_complete=complete_sweep)
    return argument(overrides_option(command))


def sweep_argument(command: Command) -> Command:
    """SWEEP and --set, loaded and checked; a wrong file ends with code 2."""

    @sweep_options
    @wraps(command)
    def loaded(sweep: str, overrides: tuple[str, ...], **options: Any) -> Any:
        return command(sweep=sweepfile.load_sweep(sweep, overrides), **options)

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


def folder_option(text: str, *, required: bool = False) -> Callable[[Command], Command]:
    """--output, a folder to write to."""
    return click.option(
        "--output",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        required=required,
        help=text,
    )


def with_tracking(sweep: SweepConfig, uri: str | None) -> SweepConfig:
    """The sweep, tracked elsewhere."""
    if uri is None:
        return sweep
    section = type(sweep.tracking)(uri=uri)
    return sweep.model_copy(update={"tracking": section})


def note(text: str) -> None:
    """A sentence for people."""
    show_text(console, text)
