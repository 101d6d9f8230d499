"""What a training minimises.

Shapes: B images of a part of a batch, P patches, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trials.lazy import F, torch
from trials.model.module import Model
from trials.precision import autocast
from trials.reduction.config import ReductionConfig
from trials.reduction.objective import (
    Losses,
    ratio_loss,
    teacher_loss,
    token_loss,
    wanted_shares,
)
from trials.reduction.state import take
from trials.tokens.kept import Kept
from trials.training.recipe import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """Images as a loss sees them.

    Attributes:
        x: preprocessed, (B, C, H, W).
        labels: int64 (B,).
        kept: the patches that enter; None = all.
        noise: what the model draws, (B, stages, P, 2); None = nothing.
        config: how tokens leave in this step; None = as the model has it.
    """

    x: Tensor
    labels: Tensor
    kept: Kept | None = None
    noise: Tensor | None = None
    config: ReductionConfig | None = None

    def __len__(self) -> int:
        return len(self.x)

    def cut(self, at_once: int) -> list[Seen]:
        """In parts of so many images; the last may have fewer."""
        parts = [slice(start, start + at_once) for start in range(0, len(self), at_once)]
        return [
            Seen(
                self.x[part],
                self.labels[part],
                None if self.kept is None else self.kept[part],
                None if self.noise is None else self.noise[part],
                self.config,
            )
            for part in parts
        ]


class Objective(Protocol):
    """A loss of a model on some images, and what of it is worth a line in a learning curve.

    Attributes:
        names: of the second thing that a call gives.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def whole(self, model: Model, parts: Sequence[Seen]) -> Tensor | None:
        """What the loss of a part has to know of the whole batch, on the device; None = nothing."""

    def __call__(
        self, model: Model, seen: Seen, whole: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The mean loss of an image; and detached numbers of which batches are averaged."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """Cross-entropy, and KL(teacher || model) where there is a teacher.

    Attributes:
        distill: weight of the second, in [0, 1].
    """

    recipe: TrainConfig
    device: torch.device
    teacher: Model | None = None
    distill: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Nothing beside the loss."""
        return ()

    def whole(self, model: Model, parts: Sequence[Seen]) -> Tensor | None:
        """Nothing: every image counts for itself."""
        return None

    def __call__(self, model: Model, seen: Seen, whole: Tensor | None) -> tuple[Tensor, None]:
        with autocast(self.recipe.precision, self.device):
            if model.reducer is None:
                logits = model(seen.x, seen.kept)
            else:
                logits = model.walk(seen.x, seen.kept, seen.noise, seen.config).logits
            loss = cross_entropy(logits, seen.labels, self.recipe)
            if self.teacher is None or self.distill == 0.0:
                return loss, None
            with torch.no_grad():
                target = self.teacher(seen.x).float().log_softmax(-1)
        own = logits.float().log_softmax(-1)
        divergence = F.kl_div(own, target, log_target=True, reduction="batchmean")
        return (1 - self.distill) * loss + self.distill * divergence, None


@dataclass(frozen=True, slots=True)
class Predicted:
    """DynamicViT's four losses, of a model in training mode.

    The mean over kept tokens is one over the whole batch, so a batch that is cut is looked at once
    before its losses, to count them.

    Attributes:
        teacher: sees whole images.
    """

    recipe: TrainConfig
    config: ReductionConfig
    device: torch.device
    teacher: Model

    @property
    def names(self) -> tuple[str, ...]:
        """The four losses, then the share of the entering patches that each stage keeps."""
        stages = len(self.config.stages(len(self.teacher.module.blocks)))
        losses = ("classification", "teacher", "tokens", "ratio")
        kept = tuple(f"kept_{stage + 1}" for stage in range(stages))
        return tuple(f"loss_{name}" for name in losses) + kept

    def whole(self, model: Model, parts: Sequence[Seen]) -> Tensor | None:
        """Images of the batch, and tokens that all its images keep; None of one part."""
        if len(parts) == 1:
            return None
        with torch.no_grad(), autocast(self.recipe.precision, self.device):
            kept = [_decisions(model, part)[-1].sum() for part in parts]
        images = float(sum(map(len, parts)))
        return torch.stack([torch.full_like(kept[0], images), torch.stack(kept).sum()])

    def __call__(
        self, model: Model, seen: Seen, whole: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        prefix = model.module.num_prefix_tokens
        with autocast(self.recipe.precision, self.device):
            walked = model.walk(seen.x, seen.kept, seen.noise)
            classification = cross_entropy(walked.logits, seen.labels, self.recipe)
            with torch.no_grad():
                taught = self.teacher.module.forward_features(seen.x)
                target = self.teacher.module.forward_head(taught)
        state, features = walked.state, walked.features
        if state is None or features is None:
            raise TypeError("a model without predictors has no such losses")
        decision = state.decisions[-1]
        tokens = token_loss(
            self.config, features[:, prefix:], take(taught[:, prefix:], state.places), decision
        )
        if whole is not None:
            mine = decision.detach().sum().clamp_min(1.0) / whole[1].clamp_min(1.0)
            tokens = tokens * mine * whole[0] / len(seen)
        patches = model.module.patch_embed.num_patches
        shares = wanted_shares(
            self.config, stages=len(state.decisions), whole=patches, entered=state.entered
        )
        losses = Losses(
            classification,
            teacher_loss(walked.logits, target),
            tokens,
            ratio_loss(state.decisions, shares),
        )
        numbers = (losses.classification, losses.teacher, losses.tokens, losses.ratio)
        kept = [one.mean() for one in state.decisions]
        return losses.total(self.config), torch.stack([n.detach() for n in (*numbers, *kept)])


def _decisions(model: Model, seen: Seen) -> tuple[Tensor, ...]:
    state = model.walk(seen.x, seen.kept, seen.noise).state
    if state is None:
        raise TypeError("a model without predictors decides nothing")
    return state.decisions


def cross_entropy(logits: Tensor, labels: Tensor, recipe: TrainConfig) -> Tensor:
    """Mean over images, in float32."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
