"""A cache of MLflow's empty SQLite database, because copying it takes no time.

MLflow's migrations take seconds in every new folder. A cached database belongs to one installed
MLflow, identified by the digests of its files, and is used only if it matches the digest in its
name.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from trials.caches import cache_of
from trials.model.answers import installed


def copy_to(path: Path) -> bool:
    """Copy the cached database to a path; False = there is none, or it cannot be written."""
    if (content := _cached()) is None:
        return False
    try:
        path.write_bytes(content)
    except OSError:  # the caller creates one, and reports what is wrong with the place
        path.unlink(missing_ok=True)
        return False
    return True


def _cached() -> bytes | None:
    if (folder := _folder()) is None:
        return None
    with contextlib.suppress(OSError):
        for file in folder.glob(f"{_installed()}-*.db"):
            content = file.read_bytes()
            if file.stem.rpartition("-")[2] == hashlib.sha256(content).hexdigest():
                return content
            file.unlink()  # truncated or modified
    return None


def keep(path: Path) -> None:
    """Cache an empty database that nobody uses yet."""
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
    return cache_of("mlflow") if _installed() else None


def _installed() -> str:
    """The digest of the installed MLflow; empty if it is unknown."""
    return (installed("mlflow") or "")[:16]
