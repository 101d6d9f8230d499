"""A level after its recovery, and the level that is picked from such."""

import torch

from tests.trials.helpers import same
from trials.context import Context, Outcomes
from trials.model.vit import Checkpoint
from trials.sparsity.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, PickConfig, pick
from trials.stages.finetune import Finetuned
from trials.stages.recovered import Recovered, RecoveredConfig, recovered

LEVELS = (0.0, 0.1, 0.2, 0.3)
LOST = (0, 1, 4, 1)
"""Of 200 images, against level 0: half a point, two points, half a point."""


def right(count: int) -> Outcomes:
    return Outcomes(torch.arange(200) < count, 0.5)


def finetuned(checkpoint: Checkpoint, count: int) -> Finetuned:
    return Finetuned(checkpoint, (), right(count), 1.0)


def picked(ctx: Context, checkpoint: Checkpoint, dense: int, zero: int, reference: str) -> float:
    curve = [Recovered({}, right(zero - lost), right(zero)) for lost in LOST]
    cfg = PickConfig.model_validate({"levels": LEVELS, "reference": reference, "tolerance": 0.01})
    model = Dense(checkpoint, (), right(dense), right(dense))
    return pick(cfg, ctx, model=model, curve=curve).sparsity


def test_the_level_does_not_move_when_all_accuracies_do(
    ctx: Context, checkpoint: Checkpoint
) -> None:
    found = {
        picked(ctx, checkpoint, dense, zero, "level_zero")
        for zero in (190, 150, 20)
        for dense in (0, 100, 200)
    }
    assert found == {0.1}
    assert picked(ctx, checkpoint, 200, 190, "dense") == 0.0, "that one is another recipe's"
    assert picked(ctx, checkpoint, 100, 190, "dense") == 0.3


def test_a_level_is_its_mask_its_model_and_level_zero(
    ctx: Context, checkpoint: Checkpoint, half: KeepMask
) -> None:
    mask, zero = OneShot(half, right(3)), finetuned(checkpoint, 9)
    cfg = RecoveredConfig(sparsity=0.5)
    found = recovered(cfg, ctx, mask=mask, model=finetuned(checkpoint, 7), reference=zero)
    assert same(found.keep, half)
    assert found.validation.accuracy == 7 / 200, "after the recovery, not before"
    assert found.reference is not None
    assert found.reference.accuracy == 9 / 200
    alone = recovered(cfg, ctx, mask=mask, model=finetuned(checkpoint, 7), reference=None)
    assert alone.reference is None
