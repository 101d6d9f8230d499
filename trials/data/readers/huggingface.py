"""Hugging Face data on disk: parquet files, or the arrow files of `save_to_disk`.

Only pyarrow reads them, so nothing of the data set can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trials.data.config import DataConfig
from trials.data.identity import Folder, digest_of
from trials.data.listing import (
    Labels,
    Listing,
    Part,
    Problems,
    Scan,
    needs_root,
    numbered,
    settled,
    takes_none,
)
from trials.data.pixels import Picture
from trials.data.shards import Shards, folders_with, shards_of
from trials.errors import DataError

AT_ONCE = 64
"""Pictures that are taken out of a file at a time."""


def problems(cfg: DataConfig) -> Problems:
    """Settings that do not fit."""
    yield from needs_root(cfg, "parquet files, or what `save_to_disk` wrote")
    yield from takes_none(cfg, "dataset", "download")


def scan(cfg: DataConfig) -> Scan:
    """Look at the files.

    Raises:
        DataError: there are none.
    """
    root = cfg.folder
    folders = folders_with((".parquet", ".arrow"), "parquet or arrow file", root)
    folders = [_without_leftovers(folder) for folder in folders]
    return Scan(digest_of(folders), lambda: _listing(cfg, root, folders))


def _without_leftovers(folder: Folder) -> Folder:
    """Without what `datasets` keeps beside a data set of results of its own."""
    kept = [i for i, name in enumerate(folder.names) if not name.startswith("cache-")]
    names = tuple(folder.names[i] for i in kept)
    return Folder(folder.path, folder.relative, names, folder.facts[kept], folder.looked_ns)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where images and labels stand.

    Attributes:
        classes: their names, where the data set says them.
    """

    image: str
    label: str
    classes: tuple[str, ...] | None


def _listing(cfg: DataConfig, root: Path, folders: list[Folder]) -> Listing:
    shards = shards_of(root, folders)
    first = next(iter(shards.values()))[0]
    columns = _columns(cfg, first)
    values = {part: _values(files, columns.label) for part, files in shards.items()}
    classes, labels = _labels(columns, values, root)
    return Listing(classes, settled(labels), lambda: _pictures(shards, columns.image, root))


def _labels(
    columns: Columns, values: Mapping[Part, list[Any]], root: Path
) -> tuple[tuple[str, ...], dict[Part, Labels]]:
    together = [value for own in values.values() for value in own]
    classes, labels = numbered(together, f"column {columns.label!r} of {root}")
    ends = np.cumsum([len(own) for own in values.values()])[:-1]
    parts = dict(zip(values, np.split(labels, ends), strict=True))
    return columns.classes or classes, parts


def _columns(cfg: DataConfig, path: Path) -> Columns:
    """Which columns hold images and labels.

    Raises:
        DataError: there is none, or there are several.
    """
    schema = _schema(path)
    features = _features(schema)
    images = [name for name in schema.names if _is_image(schema.field(name), features.get(name))]
    image = _one(cfg.image_column, images, schema.names, path, "image")
    others = [name for name in schema.names if name != image]
    named = [name for name in others if _is_class(features.get(name))]
    able = named or [name for name in others if _is_label(schema.field(name).type)]
    known = ["label"] if "label" in others and not cfg.label_column else able
    label = _one(cfg.label_column, known, schema.names, path, "label")
    feature = features.get(label) or {}
    if _is_list(schema.field(label).type):
        raise DataError(
            f"{path}: column {label!r} holds a list for each image. Multi-label data cannot be "
            "used: accuracy, tickets and masks are those of one class an image"
        )
    names = feature.get("names") if _is_class(feature) else None
    return Columns(image, label, tuple(map(str, names)) if names else None)


def _one(asked: str | None, able: list[str], all_: list[str], path: Path, what: str) -> str:
    if asked is not None and asked not in all_:
        raise DataError(f"data.{what}_column = {asked}, but {path} has: {', '.join(all_)}")
    if asked is None and len(able) != 1:
        several = f"several columns could hold the {what} ({', '.join(able)})"
        why = several if able else f"no column holds the {what} (there are {', '.join(all_)})"
        raise DataError(f"{path}: {why}: name one with `data.{what}_column`")
    return asked or able[0]


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` has noted of the columns."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted.get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return features if isinstance(features, dict) else {}


def _is_image(field: Any, feature: Any) -> bool:
    from pyarrow import types

    if isinstance(feature, dict) and "_type" in feature:
        return bool(feature["_type"] == "Image")
    if types.is_struct(field.type):
        return "bytes" in {field.type.field(i).name for i in range(field.type.num_fields)}
    return bool(types.is_binary(field.type) or types.is_large_binary(field.type))


def _is_class(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel"


def _is_label(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _schema(path: Path) -> Any:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return _read(path, lambda: parquet.read_schema(path))
    return next(_streamed(path, lambda reader: iter([reader.schema])))


def _values(files: list[Path], column: str) -> list[Any]:
    """A column of all files as Python values."""
    return [one for path in files for batch in _batches(path, column) for one in batch]


def _pictures(shards: Shards, column: str, root: Path) -> Iterator[tuple[int, str, Picture]]:
    row = 0
    for path in (path for files in shards.values() for path in files):
        number = 0
        for batch in _batches(path, column):
            for value in batch:
                yield row, f"{path.relative_to(root)}, row {number}", _picture(value, path)
                row, number = row + 1, number + 1


def _picture(value: Any, path: Path) -> Picture:
    """Bytes, or a file beside the table; nothing at all is a picture that cannot be decoded."""
    if isinstance(value, dict):
        content, name = value.get("bytes"), value.get("path")
        return path.parent / str(name) if content is None and name else bytes(content or b"")
    return value if isinstance(value, bytes) else b""


def _batches(path: Path, column: str) -> Iterator[list[Any]]:
    """A column in pieces.

    Raises:
        DataError: the file is damaged, or has no such column.
    """
    if path.suffix == ".parquet":
        from pyarrow import parquet

        file = _read(path, lambda: parquet.ParquetFile(path))
        pieces = file.iter_batches(batch_size=AT_ONCE, columns=[column])
    else:
        pieces = _streamed(path, iter)
    while (piece := _read(path, lambda: next(pieces, None))) is not None:
        found = _read(path, lambda piece=piece: piece.column(column))
        for start in range(0, len(found), AT_ONCE):
            yield found.slice(start, AT_ONCE).to_pylist()


def _streamed(path: Path, take: Any) -> Iterator[Any]:
    """What is taken of an arrow file that is open, as `save_to_disk` writes it."""
    import pyarrow

    with _read(path, lambda: pyarrow.memory_map(str(path))) as source:
        yield from take(_read(path, lambda: pyarrow.ipc.open_stream(source)))


def _read(path: Path, read: Any) -> Any:
    """Do it.

    Raises:
        DataError: the file is damaged.
    """
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is damaged, or not as it should be: {reason}") from None
