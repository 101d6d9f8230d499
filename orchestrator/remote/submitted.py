"""The first program of a submitted job, on the head node: `lotus run` with the right Python.

It is sent beside the sweep file and stands alone: until the versions have been compared it may
be any Python that the machine has, without this package.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

CHOSEN = "--this-python"


def main() -> None:
    """Compare versions with those of the machine that has submitted, then run the sweep."""
    here = Path(__file__).resolve().parent
    if CHOSEN not in sys.argv:
        _use(_python_of_ray())
    if str(here) not in sys.path:  # as where PYTHONSAFEPATH is set
        sys.path.insert(0, str(here))
    job = json.loads((here / "job.json").read_text(encoding="utf-8"))
    _check(job, (here / "orchestrator").is_dir())
    _leave()
    from orchestrator.entry import main as lotus

    os.environ["LOTUS_SENT_SWEEP"] = str(here / "sweep.yaml")  # see reading/again.py
    command, *options = job["arguments"]
    sys.argv = ["lotus", command, str(here / "sweep.yaml"), *options]
    lotus()


def _python_of_ray() -> str:
    """The interpreter that this node's Ray starts its workers with, as its raylet was told.

    A job's own environment does not say it: `python` is whatever stands first on the PATH of the
    shell that called `ray start`.
    """
    process = os.getppid()
    for _ in range(8):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        except (OSError, ValueError):
            break
        for word in words:
            name, _, command = word.partition("=")
            if name == "--python_worker_command" and command:
                return shlex.split(command)[0]
        process = int(stat.rsplit(")", 1)[1].split()[1])
    return sys.executable


def _use(python: str) -> None:
    """Go on as another interpreter, in this very process: signals reach it."""
    if os.path.abspath(python) != os.path.abspath(sys.executable) and os.access(python, os.X_OK):
        os.execv(python, [python, os.path.abspath(__file__), CHOSEN])


def _check(job: dict[str, Any], has_code: bool) -> None:
    """End here when this machine cannot run the sweep, or would run other code."""
    found = {name: _version(name) for name in job["versions"]}
    if absent := [name for name, version in found.items() if version is None]:
        hint = " (or leave --no-code out)" if absent == ["lotus-sweep"] else ""
        sys.exit(
            f"Error: the head node's Python, {sys.executable}, lacks {', '.join(absent)}: install "
            f"lotus-sweep and what it needs there{hint}"
        )
    if not has_code:
        from orchestrator.remote.submitting import code_digest

        if code_digest() != job["code"]:
            sys.exit(
                f"Error: the cluster has lotus-sweep {found['lotus-sweep']}, here submitted with "
                f"{job['versions']['lotus-sweep']}, and the code differs: leave --no-code out, "
                "or install the same one there"
            )
    odd = [
        f"{name} {found[name]} (submitted from: {version})"
        for name, version in job["versions"].items()
        if found[name] != version
    ]
    if odd:
        print(f"  ! the cluster computes with {', '.join(odd)}", flush=True)


def _version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _leave() -> None:
    """Work where files may stay: what was sent is removed with the job."""
    from orchestrator.surroundings import have_name, private_folder

    have_name()
    home = Path.home()
    # Not the temporary folder itself, where everybody may put a file that is then imported.
    os.chdir(home if os.access(home, os.W_OK) else private_folder())


if __name__ == "__main__":
    main()
