"""`lotus list` and `lotus schema`: sweep files."""

import json

import click
from rich.table import Table
from rich.text import Text

from orchestrator.commands.options import OK, console
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import about, bundled


@click.command("list")
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


@click.command()
def schema() -> int:
    """Print the JSON Schema of sweep files, for editors."""
    click.echo(json.dumps(SweepConfig.model_json_schema(), indent=1))
    return OK
