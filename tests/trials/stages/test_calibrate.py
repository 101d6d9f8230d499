import numpy as np
import pytest
import torch

from tests.trials.helpers import same
from trials.context import Context
from trials.data.datasets import Dataset
from trials.sparsity import evidence, masks
from trials.sparsity.criteria import CRITERIA
from trials.stages.calibrate import CalibrateConfig, WeightScores, calibrate
from trials.stages.dense import Dense
from trials.stages.pretrained import Pretrained

WITH_DATA = [name for name, criterion in CRITERIA.items() if criterion.needs_data]


def run(
    data: Dataset, model: Dense | Pretrained, criterion: str, images: int = 20, seed: int | None = 0
) -> WeightScores:
    cfg = CalibrateConfig.model_validate({"criterion": criterion, "calibration_images": images})
    return calibrate(cfg, Context(), seed=seed, data=data, scored=model)


@pytest.mark.parametrize("criterion", WITH_DATA)
def test_scores_follow_from_seed_images_and_weights(
    criterion: str, small: Dataset, dense: Dense, pretrained: Pretrained
) -> None:
    first = run(small, dense, criterion)
    assert list(first.scores) == list(masks.prunable(dense.checkpoint))
    assert {score.dtype for score in first.scores.values()} == {torch.float32}
    assert same(first, run(small, dense, criterion))
    assert not same(first, run(small, dense, criterion, seed=1))
    assert not same(first, run(small, dense, criterion, images=30))
    assert not same(first, run(small, pretrained, criterion))


def test_the_seed_does_not_matter_when_all_images_are_taken(small: Dataset, dense: Dense) -> None:
    whole = run(small, dense, "wanda", images=100, seed=None)
    assert same(whole, run(small, dense, "wanda", images=100, seed=5))
    assert same(whole, run(small, dense, "wanda", images=9999, seed=5))


def test_the_images_are_a_fair_sample_of_the_training_images(
    small: Dataset, dense: Dense, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = evidence.collect

    def watched(need, checkpoint, images, labels, ctx):  # type: ignore[no-untyped-def]
        seen.append((images, labels))
        return real(need, checkpoint, images, labels, ctx)

    monkeypatch.setattr(evidence, "collect", watched)
    for images in (20, 40):
        run(small, dense, "wanda", images=images)
    (few, labels), (many, _) = seen
    assert np.bincount(labels).tolist() == [2] * 10
    training = {
        image.tobytes(): label
        for image, label in zip(small.train.images, small.train.labels, strict=True)
    }
    chosen = [image.numpy().tobytes() for image in few]
    assert [training[image] for image in chosen] == labels.tolist()
    assert set(chosen) < {image.numpy().tobytes() for image in many}
