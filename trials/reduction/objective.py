"""What DynamicViT is trained for.

Shapes: B batch, N tokens (p prefix tokens first), n patches, d width.

Source: Rao et al., NeurIPS 2021, equations 12 to 15, and its code where the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.lazy import F, torch
from trials.reduction.config import ReductionConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """The four parts, scalars, not yet weighted.

    Attributes:
        classification: of the labels.
        teacher: KL(teacher || model) on the classes.
        tokens: kept tokens against the teacher's.
        ratio: kept shares against those that are wanted.
    """

    classification: Tensor
    teacher: Tensor
    tokens: Tensor
    ratio: Tensor

    def total(self, config: ReductionConfig) -> Tensor:
        """What is minimised."""
        return (
            self.classification
            + config.teacher_weight * self.teacher
            + config.token_weight * self.tokens
            + config.ratio_weight * self.ratio
        )


def wanted_shares(config: ReductionConfig, *, stages: int, whole: int, entered: int) -> list[float]:
    """The share of the patches that enter which each stage should keep; at most all.

    Args:
        whole: patches of the grid.
        entered: patches that a ticket leaves; `whole` without one.
    """
    of = 1.0 if config.count == "entering" else whole / entered
    return [min(1.0, config.keep ** (stage + 1) * of) for stage in range(stages)]


def ratio_loss(decisions: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Mean over stages and images of (wanted share - kept share)².

    0 only where every single image keeps exactly the share: it is no mean over the batch.

    Args:
        decisions: (B, n) per stage.
    """
    terms = [
        (share - decision.mean(1)).square().mean()
        for decision, share in zip(decisions, shares, strict=True)
    ]
    return torch.stack(terms).mean()


def token_loss(
    config: ReductionConfig, own_Bnd: Tensor, teacher_Bnd: Tensor, decision_Bn: Tensor
) -> Tensor:
    """Kept patches after the last norm against the teacher's at the same places; 0 of none.

    Mean over all kept patches of the batch of `mse`, its mean (or sum) over channels, or of `kl`,
    KL(teacher || model) over channels. The decision chooses and gets no gradient.

    Args:
        own_Bnd: without prefix tokens.
        teacher_Bnd: the same; carries no gradient.
    """
    own, teacher = own_Bnd.float(), teacher_Bnd.detach().float()
    if config.token_loss == "kl":
        target = teacher.log_softmax(-1)
        each = F.kl_div(own.log_softmax(-1), target, log_target=True, reduction="none").sum(-1)
    else:
        each = (own - teacher).square()
        each = each.sum(-1) if config.token_reduce == "sum" else each.mean(-1)
    kept = decision_Bn.detach().float()
    return (each * kept).sum() / kept.sum().clamp_min(1.0)


def teacher_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(teacher || model), summed over classes, mean over images; no temperature."""
    target = teacher_logits.detach().float().log_softmax(-1)
    own = logits.float().log_softmax(-1)
    return F.kl_div(own, target, log_target=True, reduction="batchmean")
