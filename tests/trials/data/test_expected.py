from pathlib import Path
from typing import Any

import pytest

from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Counts
from trials.data.expected import expected_counts
from trials.data.readers import READERS, torchvision_sets
from trials.data.readers.torchvision_sets import SETS

SETTINGS: list[dict[str, Any]] = [
    {},
    {"validation": 100},
    {"validation_from": "test"},
    {"validation_from": "test", "test_images": 101},
    {"train_images": 50, "test_images": 20},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_expected_of_digits_is_what_there_is(settings: dict[str, Any]) -> None:
    cfg = DataConfig.model_validate({"name": "digits"} | settings)
    assert expected_counts(cfg) == Counts.of(data.load(cfg))


def test_what_is_expected_of_cifar10_is_what_there_is(cifar10_root: Path) -> None:
    cfg = DataConfig(name="cifar10", root=cifar10_root)
    assert expected_counts(cfg) == Counts.of(data.load(cfg)) == Counts(45_000, 5_000, 10_000, 10, 3)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("MNIST", Counts(54_000, 6_000, 10_000, 10, 1)),  # a tenth to select on
        ("Flowers102", Counts(1_020, 1_020, 6_149, 102, 3)),  # its own validation part
        ("EuroSAT", Counts(19_440, 2_160, 5_400, 10, 3)),  # one part, which is split
        ("Imagenette", Counts(8_522, 947, 3_925, 10, 3)),  # `val` is reported on
    ],
)
def test_sets_of_torchvision_are_known_without_their_files(name: str, counts: Counts) -> None:
    cfg = DataConfig(name="torchvision", dataset=name, root=Path("/nowhere"))
    assert expected_counts(cfg) == counts


def test_something_is_expected_of_every_set_of_the_table_and_of_no_folder() -> None:
    for name in SETS:
        cfg = DataConfig(name="torchvision", dataset=name)
        found = expected_counts(cfg)
        sizes = torchvision_sets.sizes(cfg)
        assert found is not None
        assert sizes is not None
        total = sizes.train + sizes.validation + sizes.test
        assert found.train + found.validation + found.test == total
        assert found.classes <= found.train
    for reader in set(READERS) - {"torchvision", "digits", "cifar10"}:
        assert expected_counts(DataConfig.model_validate({"name": reader})) is None
