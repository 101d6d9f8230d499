"""Phase 2, round 1, for criteria that look at data: what every weight is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trials.context import Context
from trials.data.datasets import Dataset, stratified_order
from trials.data.images import chosen
from trials.lazy import torch
from trials.sparsity import evidence, masks
from trials.sparsity.criteria import CRITERIA, CriterionName
from trials.stage import StageConfig, stage
from trials.stages.dense import Dense
from trials.stages.pretrained import Pretrained

if TYPE_CHECKING:
    from torch import Tensor


class CalibrateConfig(StageConfig):
    """What is measured, and on how many images."""

    criterion: CriterionName
    calibration_images: int = Field(ge=1)


@dataclass(frozen=True, slots=True)
class WeightScores:
    """Prunable name -> float32 scores of the weight's shape; higher = more worth keeping."""

    scores: dict[str, Tensor]


@stage("calibrate", version=1)
def calibrate(
    cfg: CalibrateConfig,
    ctx: Context,
    *,
    seed: int | None,
    data: Dataset,
    scored: Pretrained | Dense,
) -> WeightScores:
    """Score every prunable weight once, for all levels of a sweep.

    The images are whole and un-augmented, and a larger number of them contains every smaller one.

    Args:
        seed: of the choice of images; None when all training images are taken.
        scored: the dense model whose weights are scored.
    """
    criterion = CRITERIA[cfg.criterion]
    order = stratified_order(data.train.labels, seed or 0, "calibration")
    rows = torch.from_numpy(np.sort(order[: cfg.calibration_images]))
    images, labels = data.on(ctx.device, "train")
    found = evidence.collect(
        criterion.needs,
        scored.checkpoint,
        chosen(images, rows),
        labels[rows.to(ctx.device)],
        ctx,
    )
    weights = masks.prunable(scored.checkpoint)
    made = criterion.score(weights, found, seed or 0)
    return WeightScores({name: score.float() for name, score in made.items()})
