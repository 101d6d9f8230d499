"""`lotus status`, `submit`, `logs` and `stop`: how a sweep stands, here or on a cluster."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from orchestrator.commands.options import (
    Command,
    console,
    json_option,
    optional_sweep,
    overrides_option,
    sweep_options,
    tracking_option,
    with_tracking,
)
from orchestrator.commands.terminal import show_line, show_text
from orchestrator.commands.watching import show_status, watch
from orchestrator.driver.interrupts import EXIT_CODE
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import load_sweep
from trials.errors import LotusError


def address_option(command: Command) -> Command:
    """--address of the dashboard."""
    option = click.option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        required=True,
        metavar="URL",
        help="Dashboard of the cluster, http://HOST:8265. Default: the environment variable "
        "RAY_API_SERVER_ADDRESS.",
    )
    return option(command)


@click.command()
@sweep_options
@address_option
@click.option(
    "--follow/--no-follow", default=True, help="Show its output until it ends, or return at once."
)
@click.option("--no-report", is_flag=True, help="Do not write a report at the end.")
@click.option(
    "--env",
    "environment",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for driver and workers. Everybody can see it, so secrets are refused.",
)
@click.option(
    "--with-code/--no-code",
    default=True,
    help="Send this machine's lotus-sweep, or use the cluster's.",
)
def submit(
    sweep: str,
    overrides: tuple[str, ...],
    address: str,
    follow: bool,
    no_report: bool,
    environment: tuple[str, ...],
    with_code: bool,
) -> int:
    """Run a sweep on a cluster, where it goes on without this machine.

    Submit it again to follow it or, when it has ended, to continue it.
    """
    from orchestrator.remote.submitting import identity, prepare

    submission = prepare(sweep, overrides, environment, with_code=with_code, report=not no_report)
    from orchestrator.remote.jobs import Jobs

    jobs = Jobs(address)
    job, new = jobs.submit(submission, identity(submission.sweep))
    name = submission.sweep.name
    say(f"{name}: {'submitted as' if new else 'runs already,'} {job}")
    for note in submission.notes:
        say(f"  ! {note}")
    if follow:
        return _follow(jobs, job, sweep, address)
    _hints(sweep, address)
    return 0


@click.command()
@sweep_options
@address_option
@click.option(
    "--follow/--no-follow", default=True, help="Go on until the job ends, or show what there is."
)
def logs(sweep: str, overrides: tuple[str, ...], address: str, follow: bool) -> int:
    """Show what a submitted sweep prints."""
    jobs, job = _last(sweep, overrides, address)
    if follow:
        return _follow(jobs, job, sweep, address)
    _write(jobs.logs(job))
    return 0


@click.command()
@sweep_options
@address_option
def stop(sweep: str, overrides: tuple[str, ...], address: str) -> int:
    """End a submitted sweep cleanly.

    Submitting it again continues it.
    """
    jobs, job = _last(sweep, overrides, address)
    if not job.lives:
        say(f"{job}: nothing to stop")
        return 0
    say(f"{job}: asked to end")
    ended, clean = jobs.stop(job)
    if ended.status != "STOPPED":
        say(f"{ended}: it came to its end before it could be stopped")
    elif clean:
        say(f"{ended}: ended cleanly; submitting it again continues")
    else:
        say(f"{ended}: had to be killed; nothing finished is lost, submitting it again continues")
    return 0


@click.command()
@optional_sweep
@overrides_option
@json_option
@tracking_option
@click.option(
    "--address",
    metavar="URL",
    help="Also show its job on this cluster (see `lotus submit`).",
)
@click.option("--watch", "watched", is_flag=True, help="Go on until every trial has ended.")
def status(
    sweep: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    tracking_uri: str | None,
    address: str | None,
    watched: bool,
) -> int:
    """Show how many trials are done, running, failed and missing.

    Lists the errors of those that failed. Without SWEEP, shows every sweep in the tracking store.
    """
    from orchestrator.commands.status import all_sweeps, describe_waiting, of_sweep

    if watched:
        if as_json or address:
            raise click.UsageError("--watch shows a screen: leave out --json and --address")
        return _watch(sweep, overrides, tracking_uri)
    if sweep is None:
        return _local_status(all_sweeps(tracking_uri), "", as_json)
    config = load_sweep(sweep, overrides)
    tracked = with_tracking(config, tracking_uri)
    if address:
        return _remote_status(config, tracked, address, as_json)
    row = of_sweep(tracked)
    return _local_status([row], describe_waiting(tracked, row["waiting"]), as_json)


def _watch(sweep: str | None, overrides: tuple[str, ...], tracking_uri: str | None) -> int:
    """Counts from the tracking store alone, again and again."""
    from orchestrator.commands.status import all_sweeps, of_tracked

    if sweep is None:
        watch(console, lambda: all_sweeps(tracking_uri, sized=False))
    else:
        tracked = with_tracking(load_sweep(sweep, overrides), tracking_uri)
        watch(console, lambda: [of_tracked(tracked)])
    return 0


def _local_status(rows: Sequence[Mapping[str, Any]], waiting: str, as_json: bool) -> int:
    """How sweeps stand in a tracking store.

    Args:
        waiting: what MLflow has not got yet, in words.
    """
    from orchestrator.commands.sizes import describe_store

    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return 0
    show_status(console, rows)
    if waiting:
        show_text(console, f"  {waiting}", "yellow")
    for line in dict.fromkeys(describe_store(row["store"]) for row in rows if row["store"]):
        show_text(console, line)
    return 0


def _remote_status(sweep: SweepConfig, tracked: SweepConfig, address: str, as_json: bool) -> int:
    """A submitted sweep: its last job, and its trials as MLflow knows them.

    Neither its data nor its store has to be on this machine.

    Args:
        tracked: the same sweep, with the tracking store's address for this machine.
    """
    from orchestrator.commands.status import of_tracked
    from orchestrator.remote.jobs import Jobs
    from orchestrator.remote.submitting import identity

    jobs = Jobs(address).of(identity(sweep))
    job = jobs[-1] if jobs else None
    row = of_tracked(tracked)
    if as_json:
        job_entry = (
            {"id": job.id, "status": job.status, "exit_code": job.exit_code} if job else None
        )
        click.echo(json.dumps([row | {"job": job_entry}], indent=1))
        return 0
    say(str(job) if job else f"{sweep.name} was never submitted to {address}")
    show_status(console, [row])
    return 0


def say(text: str) -> None:
    """Print one line."""
    show_line(console, text)


def _last(sweep: str, overrides: tuple[str, ...], address: str) -> tuple[Any, Any]:
    from orchestrator.remote.submitting import identity

    config = load_sweep(sweep, overrides)
    from orchestrator.remote.jobs import Jobs

    jobs = Jobs(address)
    submitted = jobs.of(identity(config))
    if not submitted:
        raise LotusError(f"{config.name} was never submitted to {address}: `lotus submit` does it")
    return jobs, submitted[-1]


def _follow(jobs: Any, job: Any, sweep: str, address: str) -> int:
    try:
        ended = jobs.follow(job, _write)
    except KeyboardInterrupt:
        say("\nNo longer followed; the job goes on.")
        _hints(sweep, address)
        return EXIT_CODE
    except LotusError:
        _hints(sweep, address)
        raise
    say(str(ended))
    if ended.status == "FAILED" and ended.exit_code not in (1, 2, EXIT_CODE):
        first = ended.message.strip().splitlines() or ["no reason given"]
        say(f"  its driver did not end by itself: {first[0][:300]}")
    return int(ended.code)


def _hints(sweep: str, address: str) -> None:
    for command, effect in (
        ("logs", "follows it"), ("status", "shows its trials"), ("stop", "ends it"),
    ):  # fmt: skip
        typed = shlex.join(["lotus", command, sweep, "--address", address])
        say(f"  {typed}   {effect}")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
