"""A plan before data and weights are on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.planning.assuming import Assuming, known_sources
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import forecast
from orchestrator.planning.plan import plan
from trials.data.config import DataConfig
from trials.data.datasets import Counts
from trials.errors import DataAbsentError, DataError, ModelError
from trials.graph.sources import Opened, Sources
from trials.model.vit import ModelConfig

Tiny = Callable[..., SweepConfig]

MODEL = ModelConfig(name="vit_tiny_patch16_224", pretrained=False)


def test_what_is_there_is_read_and_nothing_is_said() -> None:
    find = Assuming()
    assert isinstance(find(DataConfig(name="digits"), MODEL), Opened)
    assert find.said == []


def test_a_plan_without_the_data_is_that_of_the_real_ones(tiny: Tiny, cifar10_root: Path) -> None:
    search = "search: {arm: [lotus, dense], patch_drop: [0.1, 0.2], seed: [0, 1]}\n"
    at = "data={{name: cifar10, root: {}, train_images: 640, test_images: 200, validation: 100}}"
    model = "model.kwargs={img_size: 32, patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2}"
    find = Assuming()
    real = plan(tiny(search, at.format(cifar10_root), model), find=find)
    assert find.said == []
    assumed = plan(tiny(search, at.format("/nowhere"), model), find=find)
    assert len(find.said) == 1
    assert [t.name for t in assumed.trials] == [t.name for t in real.trials]
    assert len(assumed.nodes) == len(real.nodes)
    assert forecast(assumed, []).device_hours == forecast(real, []).device_hours > 0


def test_a_data_set_that_is_there_is_read_although_the_weights_are_not(tmp_path: Path) -> None:
    find = Assuming()
    absent = ModelConfig(name=MODEL.name, pretrained=tmp_path / "w.safetensors")
    found = find(DataConfig(name="digits", train_images=99), absent)
    assert isinstance(found, Sources)
    assert found.counts == Counts(99, 200, 500, 10, 1)
    assert found.fresh_head
    assert [line for line in find.said if "model.pretrained" in line] == find.said


def test_both_may_be_absent_and_each_is_said_once(tmp_path: Path) -> None:
    find = Assuming()
    for _ in range(2):
        find(
            DataConfig(name="cifar10", root=tmp_path),
            ModelConfig(name=MODEL.name, pretrained=tmp_path / "w.safetensors"),
        )
    assert len(find.said) == 2


def test_what_is_damaged_or_asks_for_too_much_is_not_assumed(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"not the published file")
    with pytest.raises(DataError, match="damaged"):
        Assuming()(DataConfig(name="cifar10", root=tmp_path), MODEL)
    with pytest.raises(DataError, match="but 10000 images are in the test set"):
        Assuming()(DataConfig(name="cifar10", root=tmp_path / "no", test_images=10_001), MODEL)
    (tmp_path / "w.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ModelError, match="not a safetensors file"):
        Assuming()(
            DataConfig(name="digits"),
            ModelConfig(name=MODEL.name, pretrained=tmp_path / "w.safetensors"),
        )


def test_a_data_set_of_which_nothing_is_known_stays_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orchestrator.planning.assuming.known", lambda cfg: None)
    with pytest.raises(DataAbsentError, match="holds no CIFAR-10"):
        Assuming()(DataConfig(name="cifar10", root=tmp_path), MODEL)


def test_sources_of_known_sizes_give_the_same_forecast_as_the_data(tiny: Tiny) -> None:
    sweep = tiny("search: {arm: [lotus, dense], seed: [0, 1]}\n")
    counts = Counts(64, 40, 500, 10, 1)
    known = plan(sweep, find=lambda data, model: known_sources(counts, None, True))
    assert forecast(known, []).device_hours == forecast(plan(sweep), []).device_hours
    assert known.opened == {}
