"""Made-up data sets on disk, one for each kind of reader: the table of canonical settings.

Each has images whose pixels tell part, class and number, so that a test sees which image it got.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trials.data.config import DataConfig

CLASSES = ("bird", "cat", "dog")
COUNTS = {"train": (30, 20, 12), "test": (8, 6, 4)}
SIDE = 16


def picture(part: str, label: int, number: int) -> Image.Image:
    """An RGB image: its top says what it is, the rest is noise of its own."""
    draw = np.random.default_rng([part == "test", label, number])
    pixels = draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:4] = ((part == "test") * 200, label % 4 * 60, number % 60 * 4)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """As the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def everything() -> Iterator[tuple[str, int, int]]:
    """Part, label and number of every image."""
    for part, counts in COUNTS.items():
        for label, count in enumerate(counts):
            for number in range(count):
                yield part, label, number


def image_folder(root: Path) -> dict[str, Any]:
    """Class folders below train/ and test/."""
    for part, label, number in everything():
        folder = root / part / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.png").write_bytes(encoded(picture(part, label, number)))
    return {"name": "imagefolder"}


def parquet_files(root: Path) -> dict[str, Any]:
    """As the hub keeps a data set: data/train-00000-of-00001.parquet, with its features."""
    import pyarrow as pa
    from pyarrow import parquet

    (root / "data").mkdir(parents=True)
    for part in COUNTS:
        parquet.write_table(_table(pa, part), root / "data" / f"{part}-00000-of-00001.parquet")
    return {"name": "huggingface"}


def saved_to_disk(root: Path) -> dict[str, Any]:
    """As `save_to_disk` writes a dictionary of data sets: arrow streams."""
    import pyarrow as pa

    for part in COUNTS:
        (root / part).mkdir(parents=True)
        table = _table(pa, part)
        path = str(root / part / "data-00000-of-00001.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=7)
        (root / part / "state.json").write_text("{}")
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(COUNTS)}))
    return {"name": "huggingface"}


def _table(pa: Any, part: str) -> Any:
    own = [(label, number) for one, label, number in everything() if one == part]
    images = [{"bytes": encoded(picture(part, *which)), "path": None} for which in own]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    }
    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "image": pa.array(images, struct_type),
            "label": pa.array([label for label, _ in own], pa.int64()),
        }
    )
    noted = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": noted})


def tar_files(root: Path) -> dict[str, Any]:
    """Two tars to train and one to test; labels are the names of classes."""
    root.mkdir(parents=True, exist_ok=True)
    open_tars: dict[str, tarfile.TarFile] = {}
    for part, label, number in everything():
        name = f"{part}-{number % 2 if part == 'train' else 0:06}.tar"
        if name not in open_tars:
            open_tars[name] = tarfile.open(root / name, "w")  # noqa: SIM115 - closed below
        tar = open_tars[name]
        stem = f"{CLASSES[label]}{number:03}"
        add(tar, f"{stem}.png", encoded(picture(part, label, number)))
        add(tar, f"{stem}.cls", CLASSES[label].encode())
    for tar in open_tars.values():
        tar.close()
    return {"name": "webdataset"}


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A file of a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def mnist_files(root: Path, folder: str = "MNIST") -> dict[str, Any]:
    """The four files of MNIST's family, with made-up grey images of 28 x 28 pixels."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for part, called in (("train", "train"), ("test", "t10k")):
        own = [(label, number) for one, label, number in everything() if one == part]
        images = [np.asarray(picture(part, *one).convert("L").resize((28, 28))) for one in own]
        labels = [label for label, _ in own]
        for name, content in (
            (f"{called}-images-idx3-ubyte", idx(np.stack(images))),
            (f"{called}-labels-idx1-ubyte", idx(np.array(labels, dtype=np.uint8))),
        ):
            (raw / name).write_bytes(content)
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return {"name": "torchvision", "dataset": folder}


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """In the format of MNIST's files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


MADE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "imagefolder": image_folder,
    "huggingface parquet": parquet_files,
    "huggingface save_to_disk": saved_to_disk,
    "webdataset": tar_files,
    "torchvision": mnist_files,
}
"""Kind -> what makes its files below a folder, and gives the settings that read them."""


def config(kind: str, root: Path, **more: Any) -> DataConfig:
    """The files of a kind, made below a root where they are not there; how they are read."""
    marker = root / ".settings"
    if not marker.exists():
        root.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(MADE[kind](root)))
    return DataConfig.model_validate(json.loads(marker.read_text()) | {"root": root} | more)
