"""What is known of a data set is what its files say."""

from pathlib import Path
from typing import Any

import pytest

from trials.data.config import DataConfig
from trials.data.datasets import Counts, load
from trials.data.known import known
from trials.data.readers import READERS, torchvision_sets
from trials.data.readers.torchvision_sets import SETS
from trials.errors import DataError

SETTINGS: list[dict[str, Any]] = [
    {},
    {"validation": 150},
    {"validation_from": "test"},
    {"train_images": 100, "test_images": 200},
    {"train_images": 100, "test_images": 201, "validation_from": "test"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_known_sizes_of_the_digits_are_those_that_load(settings: dict[str, Any]) -> None:
    cfg = DataConfig(name="digits", **settings)
    assert known(cfg) == Counts.of(load(cfg))


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_known_sizes_of_cifar10_are_those_that_load(
    settings: dict[str, Any], cifar10_root: Path
) -> None:
    cfg = DataConfig(name="cifar10", root=cifar10_root, **settings)
    assert known(cfg) == Counts.of(load(cfg))


@pytest.mark.parametrize(
    "settings", [{"validation": 2000}, {"train_images": 1200}, {"test_images": 501}], ids=str
)
def test_what_is_not_there_cannot_be_asked_for(settings: dict[str, Any]) -> None:
    cfg = DataConfig(name="digits", **settings)
    with pytest.raises(DataError) as loaded:
        load(cfg)
    with pytest.raises(DataError) as counted:
        known(cfg)
    assert str(counted.value) == str(loaded.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dataset": "CIFAR100"}, Counts(45_000, 5_000, 10_000, 100, 3)),
        ({"dataset": "Imagenette"}, Counts(8_522, 947, 3_925, 10, 3)),  # `val` is reported on
        ({"dataset": "Flowers102"}, Counts(1_020, 1_020, 6_149, 102, 3)),
        ({"dataset": "DTD"}, Counts(1880, 1880, 1880, 47, 3)),
        ({"dataset": "DTD", "validation": 100}, Counts(1880, 100, 1880, 47, 3)),
        ({"dataset": "EuroSAT"}, Counts(19_440, 2_160, 5_400, 10, 3)),
        ({"dataset": "MNIST", "channels": 3}, Counts(54_000, 6_000, 10_000, 10, 3)),
        ({"dataset": "MNIST"}, Counts(54_000, 6_000, 10_000, 10, 1)),
    ],
    ids=str,
)
def test_torchvisions_sets_are_known_with_their_parts(
    settings: dict[str, Any], expected: Counts, tmp_path: Path
) -> None:
    assert known(DataConfig(name="torchvision", root=tmp_path, **settings)) == expected


def test_of_files_nobody_knows_anything(tmp_path: Path) -> None:
    assert known(DataConfig(name="imagefolder", root=tmp_path)) is None


def test_something_is_known_of_every_set_of_the_table_and_of_no_folder() -> None:
    for name in SETS:
        cfg = DataConfig(name="torchvision", dataset=name)
        found, sizes = known(cfg), torchvision_sets.sizes(cfg)
        assert found is not None
        assert sizes is not None
        total = sizes.train + sizes.validation + sizes.test
        assert found.train + found.validation + found.test == total
        assert found.classes <= found.train
    for reader in set(READERS) - {"torchvision", "digits", "cifar10"}:
        assert known(DataConfig.model_validate({"name": reader})) is None
