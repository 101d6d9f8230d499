"""An empty SQLite database of MLflow, kept once one was made: a copy takes no time.

MLflow's migrations take seconds in every new folder. What is kept belongs to the installed MLflow,
known by the digests of its files, and counts only where its content has the digest in its name.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from trials.caches import cache_folder
from trials.model.answers import installed


def copy_to(path: Path) -> bool:
    """Make a database at a path from the one that is kept; False = there is none to be had."""
    if (content := _kept()) is None:
        return False
    try:
        path.write_bytes(content)
    except OSError:  # who makes it says what is wrong with the place
        path.unlink(missing_ok=True)
        return False
    return True


def _kept() -> bytes | None:
    if (folder := _folder()) is None:
        return None
    with contextlib.suppress(OSError):
        for kept in folder.glob(f"{_installed()}-*.db"):
            content = kept.read_bytes()
            if kept.stem.rpartition("-")[2] == hashlib.sha256(content).hexdigest():
                return content
            kept.unlink()  # cut short, or changed by somebody
    return None


def keep(path: Path) -> None:
    """Keep a database in which nothing is yet and which nobody uses."""
    if (folder := _folder()) is None:
        return
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            digest = hashlib.sha256(content).hexdigest()
            os.replace(temporary, folder / f"{_installed()}-{digest}.db")
        except BaseException:
            os.unlink(temporary)
            raise


def _folder() -> Path | None:
    root = cache_folder()
    return None if root is None or not _installed() else root / "lotus-sweep" / "mlflow"


def _installed() -> str:
    """The installed MLflow; empty where its content cannot be told."""
    return (installed("mlflow") or "")[:16]
