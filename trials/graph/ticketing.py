"""Phase 1 of a trial as a graph: who looks at the patches, and which of them are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from trials.config import TrialConfig
from trials.graph.shared import Shared
from trials.model import cost
from trials.model.cost import Work
from trials.reduction.nested import selecting
from trials.stage import Load, Node, Source
from trials.stages.attention import SCORE_BATCH, AttentionConfig, PatchScores, attention
from trials.stages.finetune import Finetuned, OnlineConfig
from trials.stages.reduced import ReducedConfig, reduced
from trials.stages.tickets import Tickets, TicketsConfig
from trials.stages.tickets import tickets as choose_tickets
from trials.tokens import tickets
from trials.tokens.kept import Removal


@dataclass(frozen=True)
class Ticketing:
    """The stages that make the tickets of one trial, each built at most once.

    Attributes:
        trial: it fits its model (`trials.graph.fitting`).
        models: the dense models, as `tickets.weights` names them.
    """

    trial: TrialConfig
    data: Source
    models: Mapping[Literal["pretrained", "adapted"], Node[Any]]
    work: Work
    shared: Shared

    @property
    def removal(self) -> Removal:
        """How patches leave; an arm without tickets ignores how they would."""
        return self.trial.tickets.removal if self.trial.parts.ticketed else "gather"

    @property
    def drop(self) -> float:
        """Fraction of the patches that is dropped: exactly, where they are rounded down."""
        if not self.trial.parts.ticketed:
            return 0.0
        given, count = self.trial.patch_drop, self.trial.tickets.count
        if count == "ceil":
            return given
        return tickets.exact_drop(self.work.model.patches, given, count)

    @property
    def kept_patches(self) -> int | None:
        """Patches of an image that the model computes with; None = all."""
        if not self.trial.parts.ticketed or self.removal != "gather":
            return None
        return tickets.keep_count(self.work.model.patches, self.drop)

    @property
    def nested_keep(self) -> float | None:
        """Of a selector inside of which patches leave; None = no patch leaves inside."""
        return self.trial.tickets.nested_keep if self.trial.nested else None

    @cached_property
    def selector(self) -> Node[Finetuned] | None:
        """The dense model trained with patches leaving inside; None where nobody asks for it."""
        section, keep = self.trial.tickets, self.nested_keep
        if section.weights != "tuned" or keep is None:
            return None
        epochs = section.tuning_epochs or self.trial.dense.epochs
        way = selecting(keep)
        cfg = self.shared.part(self.trial.dense, ReducedConfig, epochs=epochs, reduction=way.read())
        inputs: dict[str, Any] = {"data": self.data, "model": self.models["adapted"]}
        inputs |= dict.fromkeys(("mask", "tickets", "teacher", "scorer"))

        def work() -> Load:
            whole, model = self.work.epochs(epochs, cfg.batch_size), self.work.model
            share = cost.reduced_macs(model, way) / cost.forward_macs(model)
            return Load(whole.macs * share, whole.calls)

        return self.shared.node(reduced, cfg, self.trial.seed, inputs, work)

    @property
    def scorer(self) -> Node[Any]:
        """The model whose attention is read."""
        weights = self.trial.tickets.weights
        if weights == "tuned":
            if self.selector is None:
                raise ValueError("tickets.weights = tuned needs tickets.score: nested")
            return self.selector
        return self.models[weights]

    @cached_property
    def attention(self) -> Node[PatchScores]:
        """The scores of all images."""
        counts = self.work.counts
        images = counts.train + counts.validation + counts.test
        cfg = self.shared.part(self.trial.tickets, AttentionConfig, **self._read)
        inputs = {"data": self.data, "model": self.scorer}
        work = lambda: self.work.forward(images, batch=SCORE_BATCH)  # noqa: E731
        return self.shared.node(attention, cfg, None, inputs, work)

    @cached_property
    def tickets(self) -> Node[Tickets]:
        """The patches that are kept."""
        section = self.trial.tickets
        cfg = self.shared.config(
            TicketsConfig, patch_drop=self.drop, select=section.select, scope=section.scope
        )
        seed = self.trial.seed if section.select == "random_fixed" else None
        return self.shared.node(choose_tickets, cfg, seed, {"scores": self.attention})

    def online(self, patches: Literal["all", "ticket", "random"]) -> OnlineConfig | None:
        """How a training that trains on these scores its batches; None = it does not."""
        section = self.trial.tickets
        if section.selection != "online" or patches != "ticket":
            return None
        return self.shared.part(section, OnlineConfig, **self._read)

    @property
    def _read(self) -> dict[str, Any]:
        """What of the settings does not follow from the section alone."""
        found: dict[str, Any] = {"attention": self.work.model.attention}
        # What is not read is in no key: three blocks are, and their attention as it is.
        if self.trial.nested:
            return found | {"block": -1, "sink": "none"}
        return found | {"nested_keep": None}
