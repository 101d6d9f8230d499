"""One trial, completely described: the sections of a sweep file and one point of its axes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trials.arms import BY_NAME, LOTUS, MASK_DATA, Arm, ArmName
from trials.data.config import DataConfig
from trials.model.vit import ModelConfig
from trials.reduction.config import READS, ReductionConfig
from trials.sparsity.presets import PRESETS, Preset
from trials.stage import StageConfig
from trials.stages.attention import ReadAttention
from trials.stages.denoise import SoupConfig
from trials.stages.dense import DenseConfig
from trials.stages.essential import MaskConfig
from trials.stages.finetune import FinetuneConfig
from trials.stages.issp import MergeConfig
from trials.stages.tickets import Scope, Select
from trials.tokens.kept import Removal
from trials.tokens.tickets import Score

Level = Annotated[float, Field(ge=0, lt=1)]
GRAD_CLIP = 1.0
"""Of DynamicViT where nothing is written: without, its loss was reported to become infinite."""

Levels = Annotated[tuple[Level, ...], AfterValidator(lambda given: tuple(sorted(set(given))))]
"""Ascending and unique, as the detectors read them."""


class TicketSection(ReadAttention):
    """`tickets:` in a sweep file."""

    score: Score | None = Field(
        None,
        description="cls: from the class token; rollout; received; default: cls, or received where "
        "the model has no class token",
    )
    weights: Literal["pretrained", "adapted"] = Field(
        "pretrained", description="which model's attention is read; LOTUS: the pretrained one's"
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
    """`essential:` in a sweep file."""

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


class IsspSection(SoupConfig, MergeConfig):
    """`issp:` in a sweep file."""

    preset: Preset = Field(
        "default", description="a reading of ISSP by name; fills what is not written here"
    )
    round_training: Literal["none", "progressive"] = Field(
        "none",
        description="progressive: round i sees i times mask_data_fraction of the data, and trains "
        "the weights with the steps that its ingredients leave of one pass (the ISP paper)",
    )

    def resolved(self) -> "IsspSection":
        """Plain settings: the preset's where nothing is written; again = the same."""
        named = PRESETS[self.preset].items()
        missing = {name: value for name, value in named if name not in self.model_fields_set}
        return self.model_copy(update=missing) if missing else self


class FinetuneSection(FinetuneConfig):
    """`finetune:` in a sweep file."""

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


class TrialConfig(StageConfig):
    """Everything that one trial's result depends on, and where its data lie."""

    data: DataConfig
    model: ModelConfig
    dense: DenseConfig = DenseConfig()
    tickets: TicketSection = TicketSection()
    essential: EssentialSection = EssentialSection()
    issp: IsspSection = IsspSection()
    finetune: FinetuneSection = FinetuneSection()
    reduction: ReductionConfig = ReductionConfig()
    arm: ArmName = LOTUS
    sparsity: Level | Literal["auto"] = 0.3
    patch_drop: Level = 0.1
    mask_data_fraction: float = Field(0.1, ge=0.1, le=1)
    seed: int = Field(0, ge=0)
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="not a full trial: the recovery is stopped after the last of these epochs, "
        "each continuing from the one before",
    )

    @property
    def parts(self) -> Arm:
        """What its arm runs."""
        return BY_NAME[self.arm]

    @property
    def runs_issp(self) -> bool:
        """Whether the arm needs ISSP: for its own mask, or as the control of an open count."""
        return self.parts.runs_issp(self._count_open)

    @property
    def prunes_once(self) -> bool:
        """Whether the arm makes the one-shot mask at the level of `sparsity`."""
        return self.parts.prunes_once(self._count_open)

    @property
    def used_axes(self) -> frozenset[str]:
        """The axes of LOTUS that change something in this trial."""
        others = {MASK_DATA} if self.finetune.data == "other_images" else set()
        return self.parts.axes(self._count_open) | others

    @property
    def reduces(self) -> bool:
        """Whether tokens leave inside the model of its arm."""
        return self.reduction.method != "none" and self.parts.reducible

    def reads(self, setting: str) -> bool:
        """Whether a setting by its dotted name changes something, as far as `reduction` says."""
        section, _, name = setting.partition(".")
        if section != "reduction":
            return True
        return self.reduces and name in ("method", *READS[self.reduction.method])

    @property
    def _count_open(self) -> bool:
        """Whether a control of the mask can know its sparsity only from ISSP's."""
        return self.parts.replaces == "mask" and not self.issp.resolved().ends_at_target

    def resolved(self) -> "TrialConfig":
        """The trial in plain settings, presets filled in; again = the same."""
        issp = self.issp.resolved()
        return self if issp is self.issp else self.model_copy(update={"issp": issp})

    def completed(self) -> "TrialConfig":
        """With what follows from its arm and was not written; again = the same.

        DynamicViT counts the patches that a ticket leaves, and its gradients are clipped.
        """
        if not self.reduces:
            return self
        changes: dict[str, StageConfig] = {}
        reduction = self.reduction.resolved(tickets=self.parts.ticketed)
        if reduction is not self.reduction:
            changes["reduction"] = reduction
        if reduction.method == "dynamicvit" and "grad_clip" not in self.finetune.model_fields_set:
            changes["finetune"] = self.finetune.model_copy(update={"grad_clip": GRAD_CLIP})
        return self.model_copy(update=changes) if changes else self
