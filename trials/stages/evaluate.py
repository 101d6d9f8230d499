"""The last stage of every trial: the numbers that are reported, test touched once."""

from dataclasses import dataclass

from trials import masks, vit
from trials.context import Context, Epoch, Outcomes
from trials.data import Dataset
from trials.evaluation import evaluate
from trials.masks import Masked
from trials.stage import StageConfig, stage
from trials.stages.dense import Dense
from trials.stages.finetune import Finetuned
from trials.stages.profile import Profile
from trials.stages.tickets import Tickets
from trials.vit import Removal


class EvaluateConfig(StageConfig):
    """What is evaluated.

    Attributes:
        arm: part of the identity, so that two arms whose models happen to be equal (say
            `lotus` without dropping and `issp`) stay two trials.
        near: accuracy below the dense model that still counts as near it.
    """

    arm: str
    near: float = 0.01
    removal: Removal = "gather"


@dataclass(frozen=True, slots=True)
class Final:
    """What a trial reports.

    Attributes:
        test_ticket: on ticketed test images; None for an arm without tickets.
        sparsity: of the prunable weights; 0 without a mask.
        sparsity_model: masked weights over all parameters of the model.
        epochs_to_near_dense: first epoch within `near` of the dense model; None = never.
    """

    validation: Outcomes
    test: Outcomes
    test_ticket: Outcomes | None
    sparsity: float
    sparsity_model: float
    macs: float
    macs_dense: float
    epochs_to_near_dense: int | None


@stage("evaluate", version=1)
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
    """Evaluate the final model on whole and on ticketed images."""
    arch = model.checkpoint.arch
    module = vit.build(model.checkpoint, ctx.device)
    pruned = masks.size(mask.keep) - masks.kept(mask.keep) if mask is not None else 0
    return Final(
        validation=model.validation,
        test=evaluate(module, arch, data, "test", ctx),
        test_ticket=evaluate(module, arch, data, "test", ctx, tickets.test, cfg.removal)
        if tickets
        else None,
        sparsity=masks.sparsity(mask.keep) if mask is not None else 0.0,
        sparsity_model=pruned / profile.parameters,
        macs=profile.macs,
        macs_dense=profile.macs_dense,
        epochs_to_near_dense=near(model.history, dense.validation.accuracy - cfg.near),
    )


def near(history: tuple[Epoch, ...], goal: float) -> int | None:
    """The first epoch (from 1) whose validation accuracy reaches `goal`; None = none does."""
    for number, epoch in enumerate(history, start=1):
        if epoch.val_accuracy >= goal:
            return number
    return None
