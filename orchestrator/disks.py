"""The file system of a path."""

from pathlib import Path

import psutil


def file_system(path: Path) -> str:
    """The kind of file system that a path is on (`ext4`, `nfs4`); "" = unknown."""
    kind_by_mount = {
        Path(partition.mountpoint): partition.fstype
        for partition in psutil.disk_partitions(all=True)
    }
    whole = path.resolve()
    return next(
        (kind_by_mount[place] for place in (whole, *whole.parents) if place in kind_by_mount), ""
    )
