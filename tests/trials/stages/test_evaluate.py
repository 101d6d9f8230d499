import pytest
import torch

from trials import masks, tickets, vit
from trials.context import Context, Epoch, Outcomes
from trials.data import Dataset
from trials.evaluation import evaluate
from trials.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.evaluate import EvaluateConfig, evaluate_final, near
from trials.stages.finetune import Finetuned
from trials.stages.profile import Profile
from trials.stages.tickets import Tickets
from trials.vit import Checkpoint

PROFILE = Profile(10.0, 20.0, 1.0, 1.0, parameters=40_000)
CFG = EvaluateConfig(arm="lotus")


def curve(*accuracies: float) -> tuple[Epoch, ...]:
    return tuple(Epoch(0.0, 0.0, accuracy, 1.0) for accuracy in accuracies)


@pytest.mark.parametrize(
    ("accuracies", "found"),
    [((0.5, 0.89, 0.95), 2), ((0.5, 0.88), None), ((0.89,), 1), ((0.95, 0.1), 1), ((), None)],
)
def test_near_dense_is_the_first_epoch_that_reaches_the_goal(
    accuracies: tuple[float, ...], found: int | None
) -> None:
    assert near(curve(*accuracies), 0.89) == found


def test_whole_and_ticketed_test_images_are_evaluated_with_the_final_weights(
    small: Dataset,
    ctx: Context,
    checkpoint: Checkpoint,
    dense: Dense,
    half: KeepMask,
    cpu: torch.device,
) -> None:
    draw = torch.Generator().manual_seed(0)
    kept = Tickets(*(tickets.random_patches(n, 16, 8, draw) for n in (100, 40, 40)))
    pruned = vit.masked(checkpoint, half)
    mask = OneShot(half, Outcomes(torch.zeros(1, dtype=torch.bool), 0.0))
    module = vit.build(pruned, cpu)
    known = evaluate(module, pruned.arch, small, "validation", ctx)
    model = Finetuned(pruned, curve(0.0, 1.0), known, 1.0)
    found = evaluate_final(
        CFG, ctx, data=small, model=model, dense=dense, mask=mask, tickets=kept, profile=PROFILE
    )
    assert found.validation is known, "the recovery has measured it"
    assert found.test_ticket is not None
    by_hand = {
        "test": evaluate(module, pruned.arch, small, "test", ctx),
        "test_ticket": evaluate(module, pruned.arch, small, "test", ctx, kept.test),
    }
    assert {name: getattr(found, name).loss for name in by_hand} == {
        name: outcomes.loss for name, outcomes in by_hand.items()
    }
    assert found.sparsity == masks.sparsity(half) == 0.5
    assert found.sparsity_model == (masks.size(half) // 2) / 40_000
    assert (found.macs, found.macs_dense) == (10.0, 20.0)
    assert found.epochs_to_near_dense == 1, "dense has accuracy 0 here"


def test_an_arm_without_mask_and_tickets_says_so(
    small: Dataset, ctx: Context, checkpoint: Checkpoint, dense: Dense
) -> None:
    known = Outcomes(torch.zeros(40, dtype=torch.bool), 0.0)
    model = Finetuned(checkpoint, curve(0.5), known, 1.0)
    found = evaluate_final(
        CFG, ctx, data=small, model=model, dense=dense, mask=None, tickets=None, profile=PROFILE
    )
    assert found.test_ticket is None
    assert (found.sparsity, found.sparsity_model) == (0.0, 0.0)
