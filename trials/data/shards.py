"""Data sets that come as a few large files: which file belongs to which part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trials.data.identity import Folder, walk
from trials.data.listing import PARTS, Part, part_of
from trials.errors import DataError

Shards = dict[Part, list[Path]]


def shards_of(root: Path, folders: Sequence[Folder]) -> Shards:
    """The files of each part, by their names or by the folders in which they lie, sorted.

    Files of which none says its part are all for training.

    Raises:
        DataError: only some say it, or several data sets lie below the root.
    """
    found: dict[Part | None, list[Path]] = {}
    homes: dict[Part | None, set[str]] = {}
    for folder in folders:
        for name in folder.names:
            part, home = _place(folder.relative, name)
            found.setdefault(part, []).append(Path(folder.path, name))
            homes.setdefault(part, set()).add(home)
    if several := [sorted(own) for own in homes.values() if len(own) > 1]:
        raise DataError(
            f"data.root = {root} holds several data sets ({', '.join(several[0])}): name the "
            "folder of one"
        )
    unclear = found.pop(None, [])
    if unclear and found:
        raise DataError(
            f"{unclear[0]} says not what it is for, and other files do: name files or folders "
            "after their part, such as train-0.tar or test/0.tar"
        )
    if unclear:
        return {"train": sorted(unclear)}
    return {part: sorted(found[part]) for part in PARTS if part in found}


def _place(relative: str, name: str) -> tuple[Part | None, str]:
    """The part of a file, and the folder of the data set that it belongs to."""
    ways = [way for way in relative.split(os.sep) if way]
    for i in range(len(ways) - 1, -1, -1):
        if part := part_of(ways[i]):
            return part, os.sep.join(ways[:i])
    return part_of(name), relative


def folders_with(endings: tuple[str, ...], holds: str, root: Path) -> list[Folder]:
    """The folders below a root with the files that end so.

    Args:
        holds: the kind of files, in words.

    Raises:
        DataError: the root is not there, or holds no such file.
    """
    if not root.is_dir():
        raise DataError(f"data.root = {root}: there is no such folder")
    folders = walk(root, lambda name: name.endswith(endings))
    if not folders:
        raise DataError(f"data.root = {root} holds no {holds}")
    return folders
