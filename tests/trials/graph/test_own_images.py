"""Whole trials on a folder of images: where the images are held changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trials.data.readers import made
from trials.config import TrialConfig
from trials.data.images import HostImages
from trials.graph.execute import Direct
from trials.graph.pipeline import pipeline
from trials.graph.sources import open_sources
from trials.stages.evaluate import Final


@pytest.mark.parametrize("arm", ["lotus", "essential"])
def test_a_trial_on_images_in_a_file_is_bit_for_bit_that_on_images_in_memory(
    arm: str,
    tiny_trial: Callable[..., TrialConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cpu: torch.device,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made.image_folder(tmp_path / "set")
    finals: list[Final] = []
    for gib in (0, 1):
        data = {"name": "imagefolder", "root": tmp_path / "set", "size": 8, "channels": 1}
        trial = tiny_trial(
            data=data | {"memory_gib": gib, "train_images": 40},
            tickets={"weights": "adapted"},
            essential={"criterion": "wanda"},
            finetune={"epochs": 2, "batch_size": 16, "weights": "current", "flip": True},
            arm=arm,
        )
        opened = open_sources(trial.data, trial.model)
        images, _ = opened.dataset.on(cpu, "train")
        assert isinstance(images, HostImages) == (gib == 0)
        final = Direct(opened.objects()).get(pipeline(trial, opened.sources).final)
        finals.append(final)
    a, b = finals
    assert torch.equal(a.test.correct, b.test.correct)
    assert (a.validation.loss, a.test.loss) == (b.validation.loss, b.test.loss)
    assert (a.deployed_test.loss, a.sparsity) == (b.deployed_test.loss, b.sparsity)
