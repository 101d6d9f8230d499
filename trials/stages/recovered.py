"""One level of the one-shot curve after its recovery, whose weights are kept and used again."""

from __future__ import annotations

from dataclasses import dataclass

from trials.context import Context, Outcomes
from trials.stage import StageConfig, stage
from trials.stages.essential import OneShot
from trials.stages.finetune import Finetuned


class RecoveredConfig(StageConfig):
    """Which level; mask and recovery have been made.

    Attributes:
        sparsity: None: the level that was picked.
    """

    sparsity: float | None


@dataclass(frozen=True, slots=True)
class Recovered(OneShot):
    """A one-shot mask, and what the model under it is worth after its recovery.

    Attributes:
        reference: of level 0 after the same recovery; None where the dense model is compared with.
    """

    reference: Outcomes | None


@stage("recovered", version=1)
def recovered(
    cfg: RecoveredConfig,
    ctx: Context,
    *,
    mask: OneShot,
    model: Finetuned,
    reference: Finetuned | None,
) -> Recovered:
    """The level as the curve reads it.

    Args:
        model: recovered under that mask; of the arm `essential` it is the final model itself.
        reference: recovered under the mask of level 0.

    Source: Essential Sparsity, section 3: E(m * theta) and E(theta) after the same fine-tuning.
    """
    return Recovered(mask.keep, model.validation, reference.validation if reference else None)
