"""What every figure carries: when, on what, with which versions and of which code."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from orchestrator.versions import hardware, versions


def about(root: Path = ROOT) -> dict[str, Any]:
    """Date, hardware, versions, load before the start, and the commit that is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": commit(root),
    }


def commit(root: Path = ROOT) -> str:
    """Of the code that is measured, `+changes` where the files differ from it."""
    short = _git(root, "rev-parse", "--short", "HEAD")
    return f"{short}+changes" if _git(root, "status", "--porcelain") else short


def _git(root: Path, *asked: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(root), *asked), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
