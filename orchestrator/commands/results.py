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
from orchestrator.commands.terminal import show_text
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import load_sweep


@click.command()
@sweep_argument
@click.argument("other", metavar="[OTHER]", required=False)
@tracking_option
@folder_option("Folder to write to. Default: the sweep's own.")
@click.option("--live", is_flag=True, help="Write it again until the sweep has ended.")
def report(
    sweep: SweepConfig,
    other: str | None,
    tracking_uri: str | None,
    output: Path | None,
    live: bool,
) -> int:
    """Write a sweep's report again, or compare two sweeps.

    Everything is read from the tracking store, so this works on any machine that reaches it.
    With a second sweep, the page has what both found, and how much they differ at the settings
    that both have. With a report of the same sweep that was kept (its folder, or the summary.json
    in it), the page has what has changed since.
    """
    if other is not None:
        return _beside(with_tracking(sweep, tracking_uri), other, tracking_uri, output, live=live)
    tracked = with_tracking(sweep, tracking_uri)
    return _live(tracked, output) if live else _once(tracked, output)


def _beside(
    sweep: SweepConfig, other: str, tracking_uri: str | None, output: Path | None, *, live: bool
) -> int:
    """Two sweeps, or two states of one, on one page."""
    from orchestrator.reading.beside import report_beside, report_states
    from orchestrator.reading.earlier import is_earlier

    if live:
        raise click.UsageError("--live renews the report of one sweep: leave the second one out.")
    if is_earlier(other):
        page = report_states(sweep, Path(other), output)
        console.print(f"Report    {page}", soft_wrap=True)
        return OK
    second = with_tracking(load_sweep(other), tracking_uri)
    console.print(f"Report    {report_beside(sweep, second, output)}", soft_wrap=True)
    return OK


def _live(sweep: SweepConfig, output: Path | None) -> int:
    """Again and again, until the sweep has ended."""
    from orchestrator.reading.live import renewed

    for written in renewed(sweep, output):
        next_one = "" if written.wait_s is None else f"; again in {written.wait_s:.0f} s"
        console.print(f"Report    {written.page}{next_one}", soft_wrap=True)
    return OK


def _once(sweep: SweepConfig, output: Path | None) -> int:
    from orchestrator.commands.ui import trials_of
    from orchestrator.reading.report import report as make_report

    page = make_report(sweep, output)
    console.print(f"Report    {page}", soft_wrap=True)
    if trials := trials_of(sweep):
        console.print(trials, soft_wrap=True, markup=False, highlight=False)
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
    from orchestrator.commands.selecting import describe_selection, selection_json, tracked_results
    from orchestrator.selection import select as choose

    wanted = sweep.essential.resolved().tolerance if tolerance is None else tolerance
    seen = tracked_results(with_tracking(sweep, tracking_uri))
    found = choose(
        seen.trials,
        wanted,
        sweep.essential.resolved().detector,
        seen.axes,
        seen.curve,
        seen.outcomes(wanted),
    )
    if as_json:
        click.echo(json.dumps(selection_json(found), indent=1))
    else:
        show_text(console, describe_selection(found))
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
