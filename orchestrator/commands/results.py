"""`lotus report`, `select` and `export`: what a sweep has found."""

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.commands.options import (
    OK,
    console,
    folder_option,
    json_option,
    sweep_argument,
    tracking_option,
    with_tracking,
)
from orchestrator.planning.config import SweepConfig


@click.command()
@sweep_argument
@tracking_option
@folder_option("Folder to write to. Default: the sweep's own.")
def report(sweep: SweepConfig, tracking_uri: str | None, output: Path | None) -> int:
    """Write a sweep's report again.

    Everything is read from the tracking store, so this works on any machine that reaches it.
    """
    from orchestrator.reading.report import report as make_report

    page = make_report(with_tracking(sweep, tracking_uri), output)
    console.print(f"Report    {page}", soft_wrap=True)
    return OK


@click.command()
@sweep_argument
@tracking_option
@click.option(
    "--tolerance",
    metavar="FRACTION",
    type=click.FloatRange(0, 1, max_open=True),
    help="Accuracy that may be lost: 0.01 is one point. Default: the sweep's.",
)
@json_option
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


@click.command()
@sweep_argument
@tracking_option
@folder_option("Folder to write to. It must not hold an export yet.", required=True)
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
@click.option(
    "--all-tokens",
    is_flag=True,
    help="Export a model whose tokens leave inside, although plain timm keeps all of them.",
)
def export(
    sweep: SweepConfig,
    tracking_uri: str | None,
    output: Path,
    trial: str | None,
    format: Any,
    all_tokens: bool,
) -> int:
    """Write a trained model to a folder that timm can load."""
    from orchestrator.commands.export import export as write

    found = write(with_tracking(sweep, tracking_uri), output, trial, format, all_tokens=all_tokens)
    console.print(f"{found.trial}: written to {found.folder}", soft_wrap=True)
    for path in found.paths:
        size = f"{path.stat().st_size / 2**20:8.2f} MiB"
        console.print(f"  {size}  {path.name}", highlight=False, soft_wrap=True)
    named = json.dumps(f"local-dir:{found.folder.absolute()}", ensure_ascii=False)
    loads = f"timm.create_model({named}, pretrained=True)"
    console.print(f"Load it   {loads}", highlight=False, soft_wrap=True)
    return OK
