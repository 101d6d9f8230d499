"""One trial, completely described: the sections of a sweep file and one point of its axes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trials.data import DataConfig
from trials.stage import StageConfig
from trials.stages.attention import AttentionConfig
from trials.stages.denoise import SoupConfig
from trials.stages.dense import DenseConfig
from trials.stages.finetune import FinetuneConfig
from trials.stages.issp import MergeConfig
from trials.stages.tickets import Select
from trials.vit import ModelConfig, Removal

Arm = Literal[
    "dense",
    "tickets",
    "essential",
    "issp",
    "lotus",
    "random_patches",
    "random_mask",
    "magnitude",
]
CONTROLS: frozenset[str] = frozenset({"random_patches", "random_mask", "magnitude"})
MASKED: frozenset[str] = frozenset({"issp", "lotus", "random_patches"})
TICKETED: frozenset[str] = frozenset(
    {"tickets", "lotus", "random_patches", "random_mask", "magnitude"}
)

Level = Annotated[float, Field(ge=0, lt=1)]
Levels = Annotated[tuple[Level, ...], AfterValidator(lambda given: tuple(sorted(set(given))))]
"""Ascending and unique, as the detectors read them."""


class TicketSection(AttentionConfig):
    """`tickets:` in a sweep file."""

    weights: Literal["pretrained", "adapted"] = Field(
        "pretrained", description="which model's attention is read; LOTUS: the pretrained one's"
    )
    removal: Removal = Field("gather", description="how dropped patches leave the model")
    select: Select = Field(
        "attention", description="which patches are kept: the most attended, or a control"
    )


class EssentialSection(StageConfig):
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
        "adapted", description="whose magnitudes decide"
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


class FinetuneSection(FinetuneConfig):
    """`finetune:` in a sweep file."""

    weights: Literal["pretrained", "current", "random"] = Field(
        "pretrained",
        description="start of the recovery: the pretrained weights under the mask (LOTUS: the "
        "untrained model), the weights that the pruning left, or random ones",
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
    arm: Arm = "lotus"
    sparsity: Level | Literal["auto"] = 0.3
    patch_drop: Level = 0.1
    mask_data_fraction: float = Field(0.1, ge=0.1, le=1)
    seed: int = Field(0, ge=0)
