from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trials.data.config import DataConfig
from trials.data.datasets import Counts, Dataset
from trials.errors import ModelError
from trials.graph.sources import open_sources
from trials.model.vit import Checkpoint, ModelConfig

DIGITS = DataConfig(name="digits")
Tiny = Callable[..., ModelConfig]


@pytest.fixture
def at(tiny_model: Tiny) -> Callable[[Path], ModelConfig]:
    return lambda path: tiny_model().model_copy(update={"pretrained": path})


def test_random_weights_are_no_source(tiny_model: Tiny, digits: Dataset) -> None:
    opened = open_sources(DIGITS, tiny_model())
    assert opened.sources.weights is None
    assert opened.sources.fresh_head
    assert opened.sources.data.digest == digits.digest
    assert opened.objects() == {opened.sources.data: opened.dataset}
    assert opened.sources.counts == Counts(1097, 200, 500, 10, 1) == Counts.of(digits)


def test_a_weights_file_is_known_by_its_content_not_by_its_path(
    at: Callable[[Path], ModelConfig], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        save_file(checkpoint.state, tmp_path / name)
    save_file(checkpoint.state | {"head.bias": torch.ones(10)}, tmp_path / "c")
    a, b, c = (open_sources(DIGITS, at(tmp_path / name)) for name in "abc")
    assert a.sources == b.sources
    assert a.sources.weights != c.sources.weights
    assert a.sources.weights is not None
    assert a.objects()[a.sources.weights] == tmp_path / "a"


@pytest.mark.parametrize(("classes", "fresh"), [(10, False), (7, True)])
def test_only_a_head_that_does_not_fit_is_fresh(
    at: Callable[[Path], ModelConfig],
    checkpoint: Checkpoint,
    tmp_path: Path,
    classes: int,
    fresh: bool,
) -> None:
    save_file(checkpoint.state | {"head.bias": torch.ones(classes)}, tmp_path / "w")
    assert open_sources(DIGITS, at(tmp_path / "w")).sources.fresh_head == fresh


def test_weights_without_a_head_get_a_fresh_one(
    at: Callable[[Path], ModelConfig], tmp_path: Path
) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "w")
    assert open_sources(DIGITS, at(tmp_path / "w")).sources.fresh_head


def test_downloaded_weights_are_a_source_without_a_download() -> None:
    model = ModelConfig(name="vit_small_patch16_224", pretrained=True)
    opened = open_sources(DIGITS, model)
    assert opened.sources.weights is not None
    assert "augreg" in opened.sources.weights.digest
    assert opened.sources.fresh_head
    assert opened.objects()[opened.sources.weights] is None


def test_weights_that_are_absent_or_pickled_are_refused(
    at: Callable[[Path], ModelConfig], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        open_sources(DIGITS, at(tmp_path / "nowhere"))
    torch.save({"w": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"is a pickle, which can run code: convert it"):
        open_sources(DIGITS, at(tmp_path / "model.pt"))


def test_the_real_weights_are_complete_for_the_real_data(
    vit_weights: Path, cifar10_root: Path
) -> None:
    cifar10 = DataConfig(name="cifar10", root=cifar10_root, validation_from="test")
    opened = open_sources(cifar10, ModelConfig(name="vit_tiny_patch16_224", pretrained=vit_weights))
    assert not opened.sources.fresh_head
    assert opened.sources.counts == Counts(50_000, 5_000, 5_000, 10, 3)
