from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trials.context import Context, Epoch, Outcomes
from trials.data.datasets import Dataset, Split
from trials.data.examples import example_rows
from trials.model import cost
from trials.model.capability import of_arch
from trials.model.cost import Passes
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.evaluate import EvaluateConfig, Final, evaluate_final, near
from trials.stages.finetune import Finetuned
from trials.stages.profile import Profile
from trials.stages.tickets import Tickets
from trials.tokens import tickets
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

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
    pruned = masks.masked(checkpoint, half)
    mask = OneShot(half, Outcomes(torch.zeros(1, dtype=torch.bool), 0.0))
    own = Model.of(pruned, cpu)
    known = evaluate(own, small, "validation", ctx)
    model = Finetuned(pruned, curve(0.0, 1.0), known, 1.0)
    found = evaluate_final(
        CFG, ctx, data=small, model=model, dense=dense, mask=mask, tickets=kept, profile=PROFILE
    )
    assert found.validation is known, "the recovery has measured it"
    assert found.test_ticket is not None
    by_hand = {
        "test": evaluate(own, small, "test", ctx),
        "test_ticket": evaluate(own, small, "test", ctx, kept.test),
    }
    assert {name: getattr(found, name).loss for name in by_hand} == {
        name: outcomes.loss for name, outcomes in by_hand.items()
    }
    labels, right = small.validation.labels, found.deployed_validation.correct
    assert [row for row, _ in found.examples] == example_rows(labels).tolist()
    assert [said == labels[row] for row, said in found.examples] == [
        bool(right[row]) for row, _ in found.examples
    ], "predicted as in the evaluation"
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
    assert found.examples == ()
    assert (found.sparsity, found.sparsity_model) == (0.0, 0.0)


def by_hand(checkpoint: Checkpoint, split: Split, keep_NP: Tensor) -> list[bool]:
    """Image by image through the model's own parts: embed, leave out, go on."""
    whole = Model.of(checkpoint, torch.device("cpu"))
    model, x = whole.module, whole.inputs(torch.from_numpy(split.images))
    right = []
    with torch.no_grad():
        for image, label, keep in zip(x, split.labels, keep_NP, strict=True):
            tokens = model._pos_embed(model.patch_embed(image[None]))
            seen = [0, *(1 + patch for patch in range(16) if keep[patch])]
            features = model.norm(model.blocks(model.norm_pre(tokens[:, seen])))
            right.append(int(model.forward_head(features).argmax()) == int(label))
    return right


Make = Callable[..., Final]


@pytest.fixture(scope="module")
def learned(small: Dataset, checkpoint: Checkpoint, ctx: Context) -> Checkpoint:
    """The tiny model after a few epochs, so that what it sees decides what it says."""
    model = Model.of(checkpoint, torch.device("cpu"))
    recipe = TrainConfig(lr=3e-3, batch_size=32)
    Trainer(model, small, recipe, ctx, seed=0).epochs(12)
    return model.checkpoint()


@pytest.fixture
def make(small: Dataset, ctx: Context, learned: Checkpoint, dense: Dense) -> Make:
    """Evaluate the learned model under given tickets."""

    def made(kept: Tickets | None, **settings: Any) -> Final:
        own = Model.of(learned, torch.device("cpu"))
        known = evaluate(own, small, "validation", ctx)
        model = Finetuned(learned, curve(0.5), known, 1.0)
        cfg = EvaluateConfig(arm="tickets", **settings)
        return evaluate_final(
            cfg, ctx, data=small, model=model, dense=dense, mask=None, tickets=kept, profile=PROFILE
        )

    return made


def drawn(counts: Callable[[int], int | Tensor]) -> Tickets:
    """Random tickets of the made-up images; `counts` of the number of images."""
    draw = torch.Generator().manual_seed(0)
    return Tickets(*(tickets.random_patches(n, 16, counts(n), draw) for n in (100, 40, 40)))


EVEN = drawn(lambda n: 6)
UNEVEN = drawn(lambda n: torch.arange(n) % 12 + 3)


@pytest.mark.parametrize("kept", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("removal", ["gather", "attention_mask"])
def test_deployed_outcomes_are_those_of_the_kept_tokens_image_by_image(
    make: Make, small: Dataset, learned: Checkpoint, kept: Tickets, removal: str
) -> None:
    found = make(kept, removal=removal)
    validation = by_hand(learned, small.validation, kept.validation)
    test = by_hand(learned, small.test, kept.test)
    assert found.deployed_validation.correct.tolist() == validation
    assert found.deployed_test.correct.tolist() == test
    assert found.test_ticket is found.deployed_test
    assert 0 < sum(test) < 40
    assert test != found.test.correct.tolist(), "the patches that are left out must matter here"
    assert validation != found.validation.correct.tolist()


def test_without_tickets_whole_images_are_deployed_and_looked_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trials.stages.evaluate as module

    calls: list[str] = []

    def counting(*args: Any) -> Outcomes:
        calls.append(args[2])
        return evaluate(*args)

    monkeypatch.setattr(module, "evaluate", counting)
    everything = Tickets(*(torch.ones(n, 16, dtype=torch.bool) for n in (100, 40, 40)))
    for kept in (None, everything):
        calls.clear()
        found = make(kept, scored=kept is not None)
        assert calls == ["test"]
        assert found.deployed_validation is found.validation
        assert found.deployed_test is found.test
        assert found.macs_selector == 0
    make(EVEN)
    assert calls == ["test", "test", "validation", "test"]


@pytest.mark.parametrize(("scored", "macs"), [(True, 20.0), (False, 0.0)])
def test_what_chooses_the_patches_costs_a_whole_pass_and_drawing_nothing(
    make: Make, scored: bool, macs: float
) -> None:
    assert make(EVEN, scored=scored).macs_selector == macs


def test_training_macs_take_each_training_image_at_its_own_patches(
    make: Make, checkpoint: Checkpoint
) -> None:
    passes = Passes(trained=7, trained_kept=300, looked_at=11)
    model = of_arch(checkpoint.arch)
    whole = cost.forward_macs(model)
    counts = UNEVEN.train.sum(1).tolist()
    kept = 3 * sum(cost.forward_macs(model, count) for count in counts)  # of 100 images
    found = make(UNEVEN, passes=passes)
    assert found.macs_training == pytest.approx(21 * whole + 3 * kept + 11 * whole, rel=1e-12)
    hidden = make(UNEVEN, passes=passes, removal="zero").macs_training
    assert hidden == pytest.approx((21 + 900 + 11) * whole, rel=1e-12)
