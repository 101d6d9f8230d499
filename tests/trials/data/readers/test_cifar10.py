import pickle
from pathlib import Path

import numpy as np
import pytest

from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.readers.cifar10 import CLASSES, MD5
from trials.errors import DataError


def test_cifar10_without_a_folder_says_what_to_name() -> None:
    with pytest.raises(DataError, match=r"data\.root is missing"):
        data.load(DataConfig(name="cifar10"))


def test_cifar10_that_is_absent_says_which_folder_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"data.root = {tmp_path} .* no cifar-10-batches-py"):
        data.load(DataConfig(name="cifar10", root=tmp_path))


class Trap:
    """Unpickling this writes a file, as a malicious batch could run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path, bytes]]:
        return Path.write_bytes, (self.path, b"opened")


def test_a_cifar_batch_that_is_not_the_published_file_is_refused_unopened(tmp_path: Path) -> None:
    folder, opened = tmp_path / "cifar-10-batches-py", tmp_path / "opened"
    folder.mkdir()
    for name in MD5:
        (folder / name).write_bytes(pickle.dumps(Trap(opened)))
    with pytest.raises(DataError, match="it was not opened"):
        data.load(DataConfig(name="cifar10", root=tmp_path))
    assert not opened.exists()
    pickle.loads((folder / "test_batch").read_bytes())  # noqa: S301 - shows that the trap works
    assert opened.exists()


def test_one_damaged_byte_in_a_real_cifar_batch_is_noticed(
    cifar10_root: Path, tmp_path: Path
) -> None:
    real = cifar10_root / "cifar-10-batches-py"
    for name in MD5:
        (tmp_path / name).symlink_to(real / name)
    content = bytearray((real / "data_batch_3").read_bytes())
    content[1_000_000] ^= 1
    (tmp_path / "data_batch_3").unlink()
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_3 is damaged .*it was not opened"):
        data.load(DataConfig(name="cifar10", root=tmp_path))


def test_the_real_cifar10_is_read_and_split(cifar10_root: Path) -> None:
    found = data.load(DataConfig(name="cifar10", root=cifar10_root))
    sizes = [len(part) for part in (found.train, found.validation, found.test)]
    assert sizes == [45_000, 5_000, 10_000]
    assert found.train.images.shape[1:] == (3, 32, 32)
    assert (found.classes, found.channels, found.class_names) == (10, 3, CLASSES)
    assert found.digest == "2ee1cb6a062730deaae71579dbbf2f4c7bd0497edc0891acc4817cb66fe8c84d"
    assert np.bincount(found.validation.labels).tolist() == [500] * 10
    # The published mean of all training pixels.
    means = found.train.images.mean((0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
