"""Phase 3 of a trial as a graph: what is trained, from which weights, on which patches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from trials.config import TrialConfig
from trials.graph.pruning import Pruning
from trials.graph.reducing import Reductions, reduction_of
from trials.graph.shared import Shared
from trials.graph.ticketing import Ticketing
from trials.model.cost import Work
from trials.stage import Load, Node, Source
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.finetune import Finetuned, RecoverConfig, finetune
from trials.stages.pretrained import Pretrained
from trials.stages.rung import Rung, RungConfig, rung
from trials.tokens.tickets import keep_count
from trials.training.budget import Span, pass_steps

Seen = Literal["all", "ticket", "random"]
"""Which patches a recovery is trained on."""


@dataclass(frozen=True)
class Recipes:
    """How a recovery of one trial is trained, and how much that is.

    Attributes:
        trial: it fits its model (`trials.graph.fitting`).
    """

    trial: TrialConfig
    ticketing: Ticketing
    work: Work
    shared: Shared

    def of(
        self,
        patches: Seen = "all",
        other_than: float | None = None,
        span: Span | None = None,
    ) -> RecoverConfig:
        """The settings of its stage."""
        return self.shared.part(
            self.trial.finetune,
            RecoverConfig,
            epochs=self._epochs(patches),
            patches=patches,
            removal=self.ticketing.removal if patches != "all" else "gather",
            online=self.ticketing.online(patches),
            other_than=other_than,
            # Arms of the three-way test differ in their patches, and not in how images move.
            apart=patches == "random" and self.trial.nested,
            span=span,
        )

    def _epochs(self, patches: Seen) -> int:
        """With equal exposure as many more as patches are left out, to the nearest epoch."""
        section = self.trial.finetune
        if section.budget == "epochs" or patches == "all":
            return section.epochs
        whole = self.work.model.patches
        return round(section.epochs * whole / keep_count(whole, self.ticketing.drop))

    def load(self, cfg: RecoverConfig, epochs: float) -> Load:
        """What so many epochs of it have to do."""
        train = self.work.counts.train
        if cfg.span is not None:
            epochs = min(epochs, cfg.span.steps / pass_steps(train, cfg.batch_size))
        images = train * (1.0 - (cfg.other_than or 0.0))
        kept = self.ticketing.kept_patches if cfg.patches != "all" else None
        scored = images if cfg.online else 0.0
        taught = images if cfg.distill else 0.0
        return self.work.epochs(epochs, cfg.batch_size, images, kept, scored, taught)

    def level(
        self, data: Source, dense: Node[Dense], start: Node[Any], mask: Node[OneShot]
    ) -> Node[Finetuned]:
        """The recovery of a one-shot mask, on all patches of all training images.

        Args:
            dense: the teacher, where there is one.
        """
        cfg = self.of()
        inputs = {
            "data": data,
            "model": start,
            "mask": mask,
            "tickets": None,
            "teacher": dense if self.trial.finetune.distill else None,
            "scorer": None,
        }
        work = partial(self.load, cfg, cfg.epochs)
        return self.shared.node(finetune, cfg, self.trial.seed, inputs, work)


@dataclass(frozen=True)
class Recovery:
    """The trainings after the pruning of one trial, each built at most once.

    Attributes:
        trial: as `recipes` has it.
        models: the dense models.
        random: makes the model with nothing but random weights.
        pruning: whatever the arm prunes; it asks for the recoveries of one-shot levels in turn.
    """

    trial: TrialConfig
    data: Source
    models: Mapping[Literal["pretrained", "adapted"], Node[Any]]
    random: Callable[[], Node[Pretrained]]
    recipes: Recipes
    pruning: Pruning

    @cached_property
    def reductions(self) -> Reductions | None:
        """What lets tokens leave inside the model; None = nothing does."""
        reduction = reduction_of(self.trial)
        if reduction is None:
            return None
        kept = self._ticketing.kept_patches if self._patches != "all" else None
        work, shared = self.recipes.work, self.recipes.shared
        return Reductions(self.trial, reduction, self.models, kept, work, shared)

    @cached_property
    def finetune(self) -> Node[Finetuned]:
        """The final model."""
        made, arm = self.reductions, self.trial.parts
        if made is None:
            return self._plain
        inputs = self._inputs()
        if not made.reduction.train:
            # An arm with nothing of its own is finished where it is dense.
            own = arm.mask is not None or arm.ticketed
            return made.as_it_is(inputs, self._plain if own else self.models["adapted"])
        cfg = self._config
        return made.trained(cfg, inputs, self.recipes.load(cfg, cfg.epochs))

    @cached_property
    def rung(self) -> Node[Rung] | None:
        """The last rung of the trial, on the chain of those below."""
        before: Node[Rung] | None = None
        made, shared = 0, self.recipes.shared
        for stop in self.trial.rungs:
            cfg = shared.part(self._config, RungConfig, stop=stop)
            work = partial(self.recipes.load, cfg, stop - made)
            inputs = self._inputs() | {"before": before}
            before = shared.node(rung, cfg, self.trial.seed, inputs, work)
            made = stop
        return before

    @cached_property
    def _plain(self) -> Node[Finetuned]:
        cfg, shared = self._config, self.recipes.shared
        work = partial(self.recipes.load, cfg, cfg.epochs)
        return shared.node(finetune, cfg, self.trial.seed, self._inputs(), work)

    @cached_property
    def _config(self) -> RecoverConfig:
        trial, section = self.trial, self.trial.finetune
        other = trial.mask_data_fraction if section.data == "other_images" else None
        return self.recipes.of(self._patches, other, self.pruning.rest)

    def _inputs(self) -> dict[str, Any]:
        online = self._ticketing.online(self._patches)
        return {
            "data": self.data,
            "model": self._start(),
            "mask": self.pruning.recovery_mask,
            "tickets": self._ticketing.tickets if self._patches != "all" else None,
            "teacher": self.models["adapted"] if self.trial.finetune.distill else None,
            "scorer": self._ticketing.scorer if online else None,
        }

    @property
    def _ticketing(self) -> Ticketing:
        return self.recipes.ticketing

    @property
    def _patches(self) -> Seen:
        return "all" if self.trial.finetune.data == "other_images" else self.trial.parts.patches

    def _start(self) -> Node[Any]:
        weights = self.trial.finetune.weights
        if weights == "random":
            return self.random()
        if weights == "pretrained":
            return self.models["pretrained"]
        if self.trial.parts.mask != "issp":
            return self.models["adapted"]
        pruning = self.pruning
        trained = pruning.round_train if self.trial.issp.weights == "current" else None
        return trained or pruning.soup_train or pruning.soup.merged
