"""The sections of a sweep file that say what a trial computes, each with its presets."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from trials.sparsity.presets import ESSENTIAL_PRESETS, PRESETS, EssentialPreset, Preset
from trials.stage import StageConfig
from trials.stages.attention import ReadAttention
from trials.stages.denoise import SoupConfig
from trials.stages.essential import MaskConfig
from trials.stages.finetune import FinetuneConfig
from trials.stages.issp import MergeConfig
from trials.stages.tickets import Scope, Select
from trials.tokens.kept import Removal
from trials.tokens.tickets import Rounding, Score

MOST_ROUNDS = 100
"""Of ISSP."""

Level = Annotated[float, Field(ge=0, lt=1)]
Levels = Annotated[tuple[Level, ...], AfterValidator(lambda given: tuple(sorted(set(given))))]
"""Ascending and unique, as the detectors read them."""


C = TypeVar("C", bound=StageConfig)


def filled(section: C, named: Mapping[str, Any]) -> C:
    """A section with a preset's settings where nothing is written; itself if none is missing."""
    missing = {name: value for name, value in named.items() if name not in section.model_fields_set}
    return section.model_copy(update=missing) if missing else section


class TicketSection(ReadAttention):
    """Phase 1: which patches of each image are kept, and how the others leave the model."""

    score: Score | None = Field(
        None,
        description="cls: from the class token; rollout; received; nested: by when EViT, at "
        "`nested_keep`, lets them leave (Data-LTH); default: cls, or received where the model has "
        "no class token",
    )
    weights: Literal["pretrained", "adapted", "tuned"] = Field(
        "pretrained",
        description="which model's attention is read; LOTUS: the pretrained one's; tuned: with "
        "score: nested, the adapted one's after training by the recipe of `dense` with patches "
        "leaving inside (Data-LTH)",
    )
    tuning_epochs: int | None = Field(
        None, ge=1, description="of weights: tuned; default: as many as `dense.epochs`"
    )
    count: Rounding = Field(
        "ceil",
        description="how many patches are kept: (1 - patch_drop) of them rounded up, or down as "
        "in PatchDropout",
    )
    removal: Removal = Field("gather", description="how dropped patches leave the model")
    select: Select = Field(
        "attention", description="which patches are kept: the most attended, or a control"
    )
    scope: Scope = Field(
        "image", description="equally many patches of each image, or one threshold for all images"
    )
    selection: Literal["static", "online"] = Field(
        "static",
        description="score the images once as they are, or every augmented training batch",
    )


class EssentialSection(MaskConfig):
    """Phase 2, first part: the one-shot mask and the essential sparsity."""

    preset: EssentialPreset = Field(
        "default",
        description="es_published: as in Essential Sparsity, from the pretrained weights, every "
        "level after the same fine-tuning; fills what is not written here",
    )
    start: Literal["adapted", "pretrained"] = Field(
        "adapted",
        description="the weights that a level masks, and recovers with evaluate: after_finetune",
    )
    reference: Literal["dense", "level_zero"] = Field(
        "dense",
        description="what a level is compared with: the dense model, or level 0 after the same "
        "recovery, for evaluate: after_finetune",
    )
    tolerance: float = Field(0.01, ge=0, lt=1, description="accuracy that may be lost")
    detector: Literal["first_violation", "knee", "changepoint"] = Field(
        "first_violation",
        description="how s* is read off the curve; the report shows all three",
    )
    evaluate: Literal["one_shot", "after_finetune"] = Field(
        "one_shot", description="accuracy of the masked model at once, or after `finetune`"
    )
    weights: Literal["pretrained", "adapted"] = Field(
        "adapted", description="whose weights are scored"
    )
    calibration_images: int = Field(
        256,
        ge=1,
        description="training images, stratified by class, on which wanda, snip and sparsegpt "
        "look; all of them when there are fewer",
    )
    levels: Levels = Field(
        (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
        min_length=1,
        description="for `search.sparsity: auto`",
    )
    refine: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="for `search.sparsity: auto`: after `levels`, bisect the bracket of "
        "first_violation down to this width, such as 0.01",
    )

    @property
    def recovers(self) -> bool:
        """Whether a level is recovered by a stage of its own, whose weights are kept."""
        apart = self.start == "pretrained" or self.reference == "level_zero"
        return self.evaluate == "after_finetune" and apart

    def resolved(self) -> "EssentialSection":
        """Plain settings: the preset's where nothing is written; again = the same."""
        return filled(self, ESSENTIAL_PRESETS[self.preset])


class IsspSection(SoupConfig, MergeConfig):
    """Phase 2, second part: Instant-Soup pruning, which makes the denoised mask."""

    preset: Preset = Field(
        "default", description="a reading of ISSP by name; fills what is not written here"
    )
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | Literal["auto"] = Field(
        1,
        description="denoised prunings on the way to the target; auto: as many as "
        "`schedule: remaining` or `linear` needs with round_fraction",
    )
    start: Literal["adapted", "pretrained"] = Field(
        "adapted", description="the weights that the first round starts from; ISP: pretrained"
    )
    order: Literal["prune_first", "train_first"] = Field(
        "prune_first",
        description="train_first: every round trains the weights, all of them on all images, and "
        "then prunes (ISP); prune_first: it prunes, and `round_training` says what follows",
    )
    rate: Literal["constant", "one_pass"] = Field(
        "constant",
        description="of the training in the rounds, for order: train_first. one_pass: rounds and "
        "recovery are one training by the recipe of `finetune`, with one decay over all its steps",
    )
    train_fraction: float = Field(
        0.1,
        gt=0,
        le=100,
        description="of a pass over the training images, before the first prune, for order: "
        "train_first; ISP 0.1, its released code 0.075 or 0.5",
    )
    train_growth: Literal["linear", "constant"] = Field(
        "linear", description="linear: round i trains i times train_fraction (ISP)"
    )
    count_look_ahead: bool = Field(
        True,
        description="take the ingredients' steps off those of the round; ISP's sources do not",
    )
    carry_optimizer: bool = Field(
        True, description="with rate: one_pass: keep the optimizer's moments over the prunes"
    )
    look_ahead: Literal["steps", "recovery"] = Field(
        "steps",
        description="how long an ingredient is trained; recovery: as `finetune` trains, by its "
        "recipe for all its epochs on all images (lottery tickets)",
    )
    round_training: Literal["none", "progressive"] = Field(
        "none",
        description="for order: prune_first. progressive: round i sees i times mask_data_fraction "
        "of the data, and trains the weights after its prune, with the steps that its ingredients "
        "leave of one pass",
    )

    def resolved(self) -> "IsspSection":
        """Plain settings: the preset's where nothing is written; again = the same."""
        return filled(self, PRESETS[self.preset])


class FinetuneSection(FinetuneConfig):
    """Phase 3: the sparse model is trained on the kept patches."""

    weights: Literal["pretrained", "current", "random"] = Field(
        "pretrained",
        description="start of the recovery: the pretrained weights under the mask (LOTUS: the "
        "untrained model), the weights that the pruning left, or random ones",
    )
    data: Literal["kept_patches", "other_images"] = Field(
        "kept_patches",
        description="LOTUS's remaining data: the kept patches of all training images, or all "
        "patches of the images that did not make the denoised mask",
    )
    budget: Literal["epochs", "exposure"] = Field(
        "epochs",
        description="what is equal for all arms. exposure: patches that are seen, so that an arm "
        "which trains on a share of the patches has as many times more epochs (Data-LTH)",
    )
