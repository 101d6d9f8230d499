"""What kind of file system a path is on."""

from pathlib import Path

import psutil


def file_system(path: Path) -> str:
    """The name of its kind, as the machine has it (`ext4`, `nfs4`); "" = unknown."""
    kinds = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    whole = path.resolve()
    return next((kinds[place] for place in (whole, *whole.parents) if place in kinds), "")
