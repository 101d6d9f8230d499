"""Phase 2, round 1: a one-shot mask at one level, and what the dense model is worth under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.sparsity import masks
from trials.sparsity.allocation import UNSTRUCTURED, Pattern, fits_pattern, keep_mask, n_of_m
from trials.sparsity.criteria import CRITERIA, CriterionName
from trials.sparsity.detect import DETECTORS
from trials.sparsity.masks import KeepMask, Masked
from trials.stage import Later, StageConfig, stage
from trials.stages.calibrate import WeightScores
from trials.stages.dense import Dense
from trials.stages.pretrained import Pretrained
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

if TYPE_CHECKING:
    from torch import Tensor


class MaskConfig(StageConfig):
    """Which weights the first mask keeps."""

    criterion: CriterionName = Field(
        "magnitude", description="what a weight is worth; ISSP's candidates stay with |w|"
    )
    scope: Literal["global", "layer"] = Field(
        "global", description="compare all weights, or give every tensor the same sparsity"
    )
    pattern: Pattern = Field(
        UNSTRUCTURED,
        description='or "N:M": keep N of every M consecutive inputs; the sparsity is then 1 - N/M',
    )


class OneShotConfig(MaskConfig):
    """One level of the one-shot curve."""

    sparsity: float | None = Field(None, ge=0, lt=1, description="None: the level of `picked`")
    evaluate: Literal["one_shot", "after_finetune"] = Field(
        "one_shot", description="accuracy of the masked model at once, or after fine-tuning it"
    )
    recipe: TrainConfig | None = Field(None, description="for after_finetune")
    epochs: int = 0


class PickConfig(StageConfig):
    """How the essential sparsity is read off the one-shot curve."""

    tolerance: float = Field(0.01, ge=0, lt=1, description="accuracy that may be lost")
    detector: Literal["first_violation", "knee", "changepoint"] = "first_violation"
    levels: tuple[float, ...] = ()
    reference: Annotated[Literal["dense", "level_zero"], Later()] = Field(
        "dense", description="what a level is compared with"
    )


@dataclass(frozen=True, slots=True)
class OneShot:
    """A keep-mask and the validation outcomes of the model under it."""

    keep: KeepMask
    validation: Outcomes


@dataclass(frozen=True, slots=True)
class Probe:
    """A level between coarse ones and what it gave; both None when nothing was left to do."""

    sparsity: float | None
    found: OneShot | None


@dataclass(frozen=True, slots=True)
class Picked:
    """The essential sparsity that a sweep found by itself."""

    sparsity: float


@stage("essential", version=1)
def essential(
    cfg: OneShotConfig,
    ctx: Context,
    *,
    seed: int | None,
    data: Dataset,
    model: Pretrained | Dense,
    scored: Pretrained | Dense,
    picked: Picked | None,
    like: Masked | None,
    scores: WeightScores | None,
) -> OneShot:
    """Keep the weights that the criterion ranks highest and evaluate without (or with) recovery.

    Args:
        seed: of a random criterion or of the recovery; None when neither is used.
        model: the weights that are masked and evaluated.
        scored: the weights that the criterion scores (pretrained or adapted).
        picked: gives the level when `cfg.sparsity` is None.
        like: a result whose mask's exact count is taken instead of a level (the controls).
        scores: from `calibrate`, for a criterion that needs data; None for the others.

    Raises:
        StageInputError: the level is not the pattern's, the model does not divide into its
            groups, or a criterion that needs data got no scores.

    Source: Essential Sparsity, section 3.
    """
    weights = masks.prunable(scored.checkpoint)
    if like is not None:
        count = masks.kept(like.keep)
    else:
        level = cfg.sparsity if cfg.sparsity is not None else picked.sparsity if picked else 0.0
        _check_pattern(cfg.pattern, level)
        count = masks.keep_count(masks.size(weights), level)
    keep = mask_of(cfg, _scores(cfg.criterion, weights, scores, seed or 0), count)
    pruned = Model.of(masks.masked(model.checkpoint, keep), ctx.device)
    validation: Outcomes | None = None
    if cfg.evaluate == "after_finetune" and cfg.recipe is not None:
        trainer = Trainer(pruned, data, cfg.recipe, ctx, seed or 0, keep=keep)
        trainer.epochs(cfg.epochs)
        validation = trainer.validation
    return OneShot(keep, validation or evaluate(pruned, data, "validation", ctx))


def _check_pattern(pattern: Pattern, level: float) -> None:
    if pattern != UNSTRUCTURED and not fits_pattern(level, pattern):
        raise StageInputError(
            f"essential.pattern = {pattern} cannot give the sparsity {level:g}: it always removes "
            "1 - N/M. Set `search.sparsity` to that, or `pattern: unstructured`."
        )


def _scores(
    name: str, weights: dict[str, Tensor], given: WeightScores | None, seed: int
) -> dict[str, Tensor]:
    criterion = CRITERIA[name]
    if not criterion.needs_data:
        return criterion.score(weights, {}, seed)
    if given is None:
        raise StageInputError(
            f"essential.criterion = {name} needs images: pass `scores`, the result of `calibrate`"
        )
    return given.scores


def mask_of(cfg: MaskConfig, scores: Mapping[str, Tensor], count: int) -> KeepMask:
    """The mask of `count` survivors; a pattern fixes the count by itself."""
    if cfg.pattern != UNSTRUCTURED:
        return n_of_m(scores, cfg.pattern)
    return keep_mask(scores, count, CRITERIA[cfg.criterion].allocation or cfg.scope)


@stage("pick", version=1)
def pick(
    cfg: PickConfig,
    ctx: Context,
    *,
    model: Dense,
    curve: Sequence[OneShot],
    probes: Sequence[Probe] = (),
) -> Picked:
    """The essential sparsity: a stage of its own, so that later stages can depend on it."""
    zero = curve[cfg.levels.index(0.0)] if cfg.reference == "level_zero" else None
    levels, drops = drops_of(zero or model, cfg.levels, curve, probes)
    return Picked(DETECTORS[cfg.detector](levels, drops, cfg.tolerance))


def drops_of(
    reference: Dense | OneShot,
    levels: Sequence[float],
    curve: Sequence[OneShot],
    probes: Sequence[Probe],
) -> tuple[list[float], list[float]]:
    """All levels that were evaluated, ascending, and what accuracy each loses."""
    found = measured(levels, curve, probes)
    whole = reference.validation.accuracy
    return [s for s, _ in found], [whole - one.validation.accuracy for _, one in found]


def measured(
    levels: Sequence[float], curve: Sequence[OneShot], probes: Sequence[Probe]
) -> list[tuple[float, OneShot]]:
    """All levels that were evaluated, ascending, and what each gave."""
    found = list(zip(levels, curve, strict=True))
    found += [(p.sparsity, p.found) for p in probes if p.sparsity is not None and p.found]
    return sorted(found, key=lambda one: one[0])
