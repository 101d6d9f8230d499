"""One trial, completely described: the sections of a sweep file and one point of its axes."""

from typing import Annotated, Literal

from pydantic import Field

from trials.arms import BY_NAME, LOTUS, MASK_DATA, Arm, ArmName
from trials.config.sections import (
    MOST_ROUNDS,
    EssentialSection,
    FinetuneSection,
    IsspSection,
    Level,
    TicketSection,
)
from trials.data.config import DataConfig
from trials.model.vit import ModelConfig
from trials.reduction.config import READS, ReductionConfig
from trials.sparsity.target import rounds_to_target
from trials.stage import StageConfig
from trials.stages.dense import DenseConfig

__all__ = [
    "MOST_ROUNDS",
    "EssentialSection",
    "FinetuneSection",
    "IsspSection",
    "Level",
    "TicketSection",
    "TrialConfig",
]

GRAD_CLIP = 1.0
"""Of DynamicViT where nothing is written: without, its loss was reported to become infinite."""


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
    def issp_rounds(self) -> int:
        """How many rounds ISSP has; at least one, in which nothing may be left to prune."""
        section, first = self.issp, self.sparsity
        if section.rounds != "auto":
            return section.rounds
        needed = rounds_to_target(
            section.schedule,
            section.round_fraction,
            0.0 if first == "auto" else first,
            section.target_sparsity,
            section.sparsity_reference == "relative",
        )
        return max(1, needed)

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

    @property
    def nested(self) -> bool:
        """Whether it has tickets of a selector that says itself how many patches stay."""
        return self.parts.ticketed and self.tickets.score == "nested"

    def reads(self, setting: str) -> bool:
        """Whether a setting by its dotted name changes something, as far as this knows.

        It knows `reduction`, and what only arms with tickets read so that one trial without is
        compared with many.
        """
        section, _, name = setting.partition(".")
        if section == "reduction":
            return self.reduces and name in ("method", *READS[self.reduction.method])
        if setting in ("tickets.nested_keep", "tickets.tuning_epochs"):
            return self.nested
        return setting != "finetune.budget" or self.parts.ticketed

    @property
    def _count_open(self) -> bool:
        """Whether a control of the mask can know its sparsity only from ISSP's."""
        return self.parts.replaces == "mask" and not self.issp.resolved().ends_at_target

    def resolved(self) -> "TrialConfig":
        """The trial in plain settings, presets filled in; again = the same."""
        essential, issp = self.essential.resolved(), self.issp.resolved()
        if essential is self.essential and issp is self.issp:
            return self
        return self.model_copy(update={"essential": essential} | {"issp": issp})

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
