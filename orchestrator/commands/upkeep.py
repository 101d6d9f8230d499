"""`lotus doctor`, `gc` and `ui`: this machine, the store and the tracking store."""

import json
import shlex
from typing import Any

import click
from rich.text import Text

from orchestrator.commands.options import (
    FAILED,
    OK,
    console,
    json_option,
    note,
    optional_sweep,
    overrides_option,
    tracking_option,
    with_tracking,
)
from orchestrator.commands.terminal import show_line, show_pairs, show_text
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sections import StorageSection, default_tracking
from orchestrator.planning.sweepfile import load_sweep


@click.command()
@optional_sweep
@overrides_option
@click.option("--address", metavar="ADDRESS", help="Also check this Ray cluster.")
@click.option("--repair", is_flag=True, help="Mend runs in MLflow that differ from the store.")
def doctor(sweep: str | None, overrides: tuple[str, ...], address: str | None, repair: bool) -> int:
    """Check that a sweep can run, before anything is spent.

    Looks at its data, model, weights, store, tracking store and devices. Without SWEEP, shows
    this machine.
    """
    from orchestrator.commands.doctor import BLOCKED, examine

    wrong, config = None, None
    try:
        config = load_sweep(sweep, overrides) if sweep else None
    except SweepError as error:
        wrong = error  # said last: this machine is looked at all the same
    bad = []
    for check in examine(config, address, repair):
        mark = Text("ok", style="green") if check.ok else Text("NO", style="red")
        bad += [] if check.ok or check.found == BLOCKED else [check.name]
        show_pairs(console, [(mark, f"{check.name}: {check.found}")], indent=0)
    if wrong:
        raise wrong
    if sweep:
        _conclude(sweep, overrides, address, bad)
    return FAILED if bad else OK


def _conclude(sweep: str, overrides: tuple[str, ...], address: str | None, bad: list[str]) -> None:
    """What to do next.

    Args:
        bad: names of the checks that have found a problem.
    """
    settings = [part for one in overrides for part in ("--set", one)]
    settings += ["--address", address] if address else []
    if not bad:
        show_line(console, f"Run it    {shlex.join(['lotus', 'run', sweep, *settings])}")
        return
    count = f"{len(bad)} problem{'s' * (len(bad) != 1)}"
    again = shlex.join(["lotus", "doctor", sweep, *settings])
    show_text(console, f"{count}: {', '.join(bad)}. Mend what is marked NO, then: {again}")


@click.command()
@optional_sweep
@overrides_option
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
@json_option
def gc(
    sweep: str | None, overrides: tuple[str, ...], path: str | None, as_json: bool, **options: Any
) -> int:
    """Remove stored results that no sweep needs any more.

    Sweeps may be running meanwhile. What a sweep in the tracking store needs is kept.
    """
    from orchestrator.commands.collecting import asker, collect
    from orchestrator.commands.sizes import collected_json, describe_collected
    from orchestrator.storage.store import Store

    config = load_sweep(sweep, overrides) if sweep else None
    section = config.storage if config else StorageSection()
    store = Store(StorageSection(path=path).path if path else section.path)
    known = [default_tracking(), *([config.tracking.uri] if config else [])]
    ask = asker(known, options["force"])
    found = collect(store, ask, dry_run=options["dry_run"], old=options["old"])
    if as_json:
        click.echo(json.dumps(collected_json(found), indent=1))
    else:
        show_text(console, describe_collected(found))
    return OK


@click.command()
@optional_sweep
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

    config = with_tracking(load_sweep(sweep), tracking_uri) if sweep else None
    uri = config.tracking.uri if config else tracking_uri or default_tracking()
    if uri.startswith("http"):
        note(tracked_at(uri))
        return OK
    return serve(uri, host, port, note, config)
