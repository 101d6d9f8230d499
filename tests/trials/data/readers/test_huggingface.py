"""What parquet and arrow files say of themselves, and columns that must be chosen."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Dataset


def write(root: Path, columns: dict[str, Any], name: str = "train.parquet") -> None:
    root.mkdir(parents=True, exist_ok=True)
    pictures = [made.encoded(made.picture("train", 0, number)) for number in range(30)]
    images = {"image": [{"bytes": one, "path": None} for one in pictures]}
    parquet.write_table(pa.table(images | columns), root / name)


def loaded(root: Path, **more: Any) -> Dataset:
    settings = {"name": "huggingface", "root": root} | more
    return data.load(DataConfig.model_validate(settings))


def test_texts_are_classes_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, {"species": ["dog", "cat", "emu"] * 10})
    assert loaded(tmp_path).class_names == ("cat", "dog", "emu")


def test_several_columns_are_chosen_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"fine": [0, 1, 2] * 10, "coarse": [0, 1] * 15})
    assert loaded(tmp_path, label_column="fine").classes == 3
    assert loaded(tmp_path, label_column="coarse").classes == 2
    assert (
        loaded(tmp_path, label_column="fine").digest
        != loaded(tmp_path, label_column="coarse").digest
    )


def test_a_column_called_label_is_the_label(tmp_path: Path) -> None:
    write(tmp_path, {"label": [0, 1, 2] * 10, "image_id": list(range(30))})
    assert loaded(tmp_path).classes == 3


def test_images_beside_the_table_are_found_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    paths = []
    for number in range(30):
        picture = made.encoded(made.picture("train", 0, number))
        (tmp_path / "images" / f"{number}.png").write_bytes(picture)
        paths.append({"bytes": None, "path": f"images/{number}.png"})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(paths, kind), "label": [0, 1, 2] * 10})
    parquet.write_table(table, tmp_path / "train.parquet")
    assert len(loaded(tmp_path).train.images[:]) == 22


def test_parquet_and_save_to_disk_hold_the_same_images(tmp_path: Path) -> None:
    made.parquet_files(tmp_path / "a")
    made.saved_to_disk(tmp_path / "b")
    one, other = loaded(tmp_path / "a"), loaded(tmp_path / "b")
    assert one.train.images[:].tobytes() == other.train.images[:].tobytes()
    assert one.class_names == other.class_names == made.CLASSES
    assert one.digest != other.digest, "other files"


def test_results_that_datasets_keeps_beside_a_set_do_not_count(tmp_path: Path) -> None:
    made.saved_to_disk(tmp_path)
    before = loaded(tmp_path).digest
    source = tmp_path / "train" / "data-00000-of-00001.arrow"
    shutil.copy(source, tmp_path / "train" / "cache-0123456789abcdef.arrow")
    assert loaded(tmp_path).digest == before


def test_features_that_cannot_be_read_are_as_none(tmp_path: Path) -> None:
    made.parquet_files(tmp_path)
    for path in (tmp_path / "data").iterdir():
        table = parquet.read_table(path)
        for noted in ("no JSON", json.dumps([1]), json.dumps({"info": {"features": [1]}})):
            parquet.write_table(table.replace_schema_metadata({"huggingface": noted}), path)
            assert loaded(tmp_path).class_names == ("0", "1", "2") or path.name.startswith("train")


@pytest.mark.parametrize("place", ["train/0.parquet", "plain/train-0.parquet"])
def test_parts_are_told_by_folders_and_by_files(tmp_path: Path, place: str) -> None:
    for part in ("train", "test"):
        path = tmp_path / place.replace("train", part)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path.parent, {"label": [0, 1, 2] * 10}, path.name)
    found = loaded(tmp_path)
    assert (len(found.train), len(found.validation), len(found.test)) == (27, 3, 30)
