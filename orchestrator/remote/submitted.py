"""The first program of a submitted job, on the head node: `lotus run` with the right Python.

It is sent with the sweep file and needs nothing else: until the versions have been compared, it may
run in any Python of that machine, without this package.
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
    """Compare versions with those of the submitting machine, then run the sweep."""
    here = Path(__file__).resolve().parent
    if CHOSEN not in sys.argv:
        _use(_python_of_ray())
    if str(here) not in sys.path:  # such as with PYTHONSAFEPATH
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
    """The interpreter of this node's Ray workers, from the command line of its raylet.

    A job's environment does not tell: its `python` is the first one on the PATH of the shell that
    called `ray start`.
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
    """Continue with another interpreter in the same process, so that signals reach it."""
    if os.path.abspath(python) != os.path.abspath(sys.executable) and os.access(python, os.X_OK):
        os.execv(python, [python, os.path.abspath(__file__), CHOSEN])


def _check(job: dict[str, Any], has_code: bool) -> None:
    """Exit if this machine cannot run the sweep, or would run different code."""
    installed = {package: _version(package) for package in job["versions"]}
    if missing := [package for package, version in installed.items() if version is None]:
        hint = " (or leave --no-code out)" if missing == ["lotus-sweep"] else ""
        sys.exit(
            f"Error: the head node's Python, {sys.executable}, lacks {', '.join(missing)}: install "
            f"lotus-sweep and what it needs there{hint}"
        )
    if not has_code:
        from orchestrator.remote.submitting import code_digest

        if code_digest() != job["code"]:
            sys.exit(
                f"Error: the cluster has lotus-sweep {installed['lotus-sweep']}, here submitted "
                f"with {job['versions']['lotus-sweep']}, and the code differs: leave --no-code "
                "out, or install the same one there"
            )
    differing = [
        f"{package} {installed[package]} (submitted from: {version})"
        for package, version in job["versions"].items()
        if installed[package] != version
    ]
    if differing:
        print(f"  ! the cluster computes with {', '.join(differing)}", flush=True)


def _version(package: str) -> str | None:
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _leave() -> None:
    """Change to a folder where files can stay; the submitted one is removed with the job."""
    from orchestrator.surroundings import have_name, private_folder

    have_name()
    home = Path.home()
    # Not the temporary folder itself, where anybody could put a file that is then imported.
    os.chdir(home if os.access(home, os.W_OK) else private_folder())


if __name__ == "__main__":
    main()
