"""`lotus list` and `lotus schema`: sweep files."""

import json
import sys

import click

from orchestrator.commands.options import OK, console
from orchestrator.commands.terminal import show_pairs
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import about, bundled


@click.command("list")
def list_sweeps() -> None:
    """List the bundled sweeps and what each is for."""
    show_pairs(console, [(name, about(path)) for name, path in bundled().items()], indent=0)


@click.command()
@click.option("--markdown", is_flag=True, help="Print a page that explains every key instead.")
def schema(markdown: bool) -> int:
    """Print the JSON Schema of sweep files, for editors."""
    from orchestrator.planning.key_page import page

    text = page() if markdown else json.dumps(SweepConfig.model_json_schema(), indent=1) + "\n"
    click.echo(text, nl=False, file=sys.stdout)  # which knows what an ASCII locale lacks
    return OK
