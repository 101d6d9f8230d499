"""The shell command that makes a report again."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from orchestrator.planning.config import SweepConfig
from orchestrator.secrets import without_password
from orchestrator.tracking.tracker import Address
from orchestrator.vocabulary import Artifact

SENT = "LOTUS_SENT_SWEEP"
"""Environment variable of a submitted job: its sweep file, which is deleted with the job."""


def report_command(sweep: SweepConfig, address: Address) -> str:
    """The command, for the folder in which the sweep was run: its file or name, and its overrides.

    A sweep that was not read from a file, or whose file was sent with a job, is read from the
    artifact on its run.
    """
    source = sweep.source
    if source.path is None or source.path == os.environ.get(SENT):
        return _from_artifact(address)
    words = [part for override in source.overrides for part in ("--set", override)]
    if sweep.tracking.uri != source.tracking and not _is_secret_of_environment(sweep.tracking.uri):
        words += ["--tracking-uri", without_password(sweep.tracking.uri)]
    ends_options = ["--"] if source.path.startswith("-") else []
    return shlex.join([_program(), "report", *words, *ends_options, source.path])


def _from_artifact(address: Address) -> str:
    uri, folder = without_password(address.uri), f"lotus-{address.parent[:8]}"
    fetch = ["mlflow", "artifacts", "download", "-r", address.parent, "-a", Artifact.SWEEP_CONFIG]
    report = [_program(), "report", f"{folder}/sweep.yaml", "--tracking-uri", uri]
    return (
        f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {shlex.join([*fetch, '-d', folder])}\n"
        f"{shlex.join(report)}"
    )


def _is_secret_of_environment(uri: str) -> bool:
    """Whether an address has a password but need not be shown, because the variable gives it."""
    return uri != without_password(uri) and uri == os.environ.get("MLFLOW_TRACKING_URI")


def _program() -> str:
    """`lotus`, or its path if it is not on the PATH."""
    here = Path(sys.argv[0])
    if shutil.which("lotus") or here.name != "lotus" or not here.exists():
        return "lotus"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)
