"""The last stage of every trial: the numbers that are reported, test touched once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from trials.context import Context, Epoch, Outcomes
from trials.data.datasets import Dataset
from trials.data.examples import example_rows
from trials.model import cost
from trials.model.capability import Capability, of_arch
from trials.model.cost import Passes
from trials.model.module import Model
from trials.reduction.nested import selecting
from trials.reduction.tokens import BlockTokens, block_tokens
from trials.seeding import generator
from trials.sparsity import masks
from trials.sparsity.masks import Masked
from trials.stage import Later, StageConfig, stage
from trials.stages.dense import Dense
from trials.stages.finetune import Finetuned
from trials.stages.profile import Profile
from trials.stages.tickets import Tickets
from trials.tokens.kept import Removal
from trials.tokens.tickets import random_patches
from trials.training.evaluation import evaluate, predicted

if TYPE_CHECKING:
    from torch import Tensor


class EvaluateConfig(StageConfig):
    """What is evaluated.

    Attributes:
        arm: part of the identity, so that two arms whose models happen to be equal (say
            `lotus` without dropping and `issp`) stay two trials.
        near: accuracy below the dense model that still counts as near it.
        scored: whether a model has to look at an image before its kept patches are known.
        passes: what made the model; see `trials.graph.effort`.
        selector_keep: of a selector inside of which patches leave; None = none leaves there.
        drawn_by: also evaluate on as many random patches, drawn by this seed; None = do not.
    """

    arm: str
    near: float = 0.01
    removal: Removal = "gather"
    scored: bool = False
    passes: Passes = Passes()
    selector_keep: Annotated[float | None, Later()] = None
    drawn_by: Annotated[int | None, Later()] = None


@dataclass(frozen=True, slots=True)
class Final:
    """What a trial reports.

    Accuracy and cost of one forward pass belong together: `deployed_*` with `macs` and
    `macs_selector`, the outcomes on whole images with `macs_dense`.

    Attributes:
        validation: on whole images, of which all tokens stay, as `test`.
        deployed_validation: under exactly the tokens that `macs` counts: on ticketed images
            where the arm has tickets, else on whole ones, and with tokens leaving inside where
            the model has a reduction; `deployed_test` alike.
        test_ticket: `deployed_test`; None for an arm without tickets.
        test_drawn: on as many random patches of each test image; None where nobody asked.
        sparsity: of the prunable weights; 0 without a mask.
        sparsity_model: masked weights over all parameters of the model.
        macs: per image, of the final model on the patches that it keeps.
        macs_selector: per image, of whatever chooses those patches: a forward pass of the scoring
            model, which has the same shape; 0 where patches are drawn, or all kept.
        macs_training: of everything that made the model; see `trials.graph.effort`.
        epochs_to_near_dense: first epoch within `near` of the dense model; None = never.
        block_tokens: in attention and MLP of each block, where tokens leave inside; else nothing.
        examples: a few validation images by row, and the class that is predicted of each as in
            `deployed_validation`; nothing without tickets, and in results of earlier versions.
    """

    validation: Outcomes
    test: Outcomes
    deployed_validation: Outcomes
    deployed_test: Outcomes
    test_ticket: Outcomes | None
    sparsity: float
    sparsity_model: float
    macs: float
    macs_dense: float
    macs_selector: float
    macs_training: float
    epochs_to_near_dense: int | None
    block_tokens: tuple[tuple[int, int], ...] = ()
    examples: tuple[tuple[int, int], ...] = ()
    test_drawn: Outcomes | None = None


@stage("evaluate", version=2)
def evaluate_final(
    cfg: EvaluateConfig,
    ctx: Context,
    *,
    data: Dataset,
    model: Finetuned,
    dense: Dense,
    mask: Masked | None,
    tickets: Tickets | None,
    profile: Profile,
) -> Final:
    """Evaluate the final model on whole images and as it would be deployed."""
    known, own = of_arch(model.checkpoint.arch), Model.of(model.checkpoint, ctx.device)
    pruned = masks.size(mask.keep) - masks.kept(mask.keep) if mask is not None else 0

    def deployed(split: Literal["validation", "test"], whole: Outcomes, keep: Tensor) -> Outcomes:
        # All patches kept is the same forward pass.
        if bool(keep.all()):
            return whole
        return evaluate(own, data, split, ctx, keep, cfg.removal)

    own_validation, own_test = model.validation, evaluate(own, data, "test", ctx)
    validation, test = own_validation, own_test
    if own.reducer is not None:
        plain = own.reduced_by(None)
        validation = evaluate(plain, data, "validation", ctx)
        test = evaluate(plain, data, "test", ctx)
    if tickets is not None:
        own_validation = deployed("validation", own_validation, tickets.validation)
        own_test = deployed("test", own_test, tickets.test)
    return Final(
        validation=validation,
        test=test,
        deployed_validation=own_validation,
        deployed_test=own_test,
        test_ticket=own_test if tickets is not None else None,
        sparsity=masks.sparsity(mask.keep) if mask is not None else 0.0,
        sparsity_model=pruned / profile.parameters,
        macs=profile.macs,
        macs_dense=profile.macs_dense,
        macs_selector=_selector_macs(cfg, known, tickets, profile),
        macs_training=_training_macs(cfg, known, tickets, model.train_macs),
        epochs_to_near_dense=near(model.history, dense.validation.accuracy - cfg.near),
        block_tokens=_block_tokens(own, known, tickets),
        examples=_examples(own, data, ctx, tickets, cfg.removal),
        test_drawn=_drawn(cfg, tickets, lambda keep: deployed("test", test, keep)),
    )


def _examples(
    model: Model, data: Dataset, ctx: Context, tickets: Tickets | None, removal: Removal
) -> tuple[tuple[int, int], ...]:
    if tickets is None:
        return ()
    rows = example_rows(data.validation.labels)
    found = predicted(model, data, "validation", rows, ctx, tickets.validation, removal)
    return tuple(zip(rows.tolist(), found, strict=True))


def _drawn(
    cfg: EvaluateConfig, tickets: Tickets | None, run: Callable[[Tensor], Outcomes]
) -> Outcomes | None:
    """On random patches of the test images, as many as the tickets have."""
    if cfg.drawn_by is None or tickets is None:
        return None
    images, patches = tickets.test.shape
    draw = generator(cfg.drawn_by, "drawn patches", "test")
    return run(random_patches(images, patches, tickets.test.sum(1), draw))


def _selector_macs(
    cfg: EvaluateConfig, model: Capability, tickets: Tickets | None, profile: Profile
) -> float:
    """The scoring model runs to its end, whichever block is read (`attention_maps`)."""
    if not cfg.scored or tickets is None or bool(tickets.test.all()):
        return 0.0
    return profile.macs_dense if cfg.selector_keep is None else _nested_macs(cfg, model)


def _nested_macs(cfg: EvaluateConfig, model: Capability) -> float:
    """Of one image, by a selector inside of which patches leave; 0 without one."""
    keep = cfg.selector_keep
    return 0.0 if keep is None else cost.reduced_macs(model, selecting(keep))


def _block_tokens(model: Model, known: Capability, tickets: Tickets | None) -> BlockTokens:
    reduction = model.arch.reduction
    if reduction is None:
        return ()
    return block_tokens(reduction.config, known, None if tickets is None else int(tickets.kept))


def _training_macs(
    cfg: EvaluateConfig,
    architecture: Capability,
    tickets: Tickets | None,
    reduced: float | None,
) -> float:
    kept = cost.forward_macs(architecture)
    if tickets is not None and cfg.removal == "gather":
        counts = [int(count) for count in tickets.train.sum(1)]
        kept = cost.mean_forward_macs(architecture, counts)
    selector = _nested_macs(cfg, architecture)
    return cost.total_macs(cfg.passes, architecture, kept, reduced, selector)


def near(history: tuple[Epoch, ...], goal: float) -> int | None:
    """The first epoch (from 1) whose validation accuracy reaches `goal`; None = none does."""
    for number, epoch in enumerate(history, start=1):
        if epoch.val_accuracy >= goal:
            return number
    return None
