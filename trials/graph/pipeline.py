"""The order of the stages, per arm; nothing else.

Nothing runs here: the result is a graph that an executor walks.
"""

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, Literal

from trials.config import TrialConfig
from trials.graph import effort
from trials.graph.fitting import fitted
from trials.graph.pruning import Pruning
from trials.graph.reducing import Reductions, reduction_of
from trials.graph.shared import Shared
from trials.graph.sources import Sources
from trials.model.cost import Passes, Work
from trials.stage import Load, Node, Source
from trials.stages.attention import SCORE_BATCH, AttentionConfig, PatchScores, attention
from trials.stages.calibrate import WeightScores
from trials.stages.denoise import Candidates
from trials.stages.dense import Dense, DenseConfig, dense
from trials.stages.essential import OneShot, Picked
from trials.stages.evaluate import EvaluateConfig, Final, evaluate_final
from trials.stages.finetune import Finetuned, OnlineConfig, RecoverConfig, finetune
from trials.stages.issp import Issp
from trials.stages.pretrained import Pretrained, PretrainedConfig, pretrained
from trials.stages.profile import BATCH as PROFILE_BATCH
from trials.stages.profile import REPEATS, Profile, ProfileConfig, profile
from trials.stages.round_train import RoundTrained
from trials.stages.rung import Rung, RungConfig, rung
from trials.stages.soup_train import SoupTrained
from trials.stages.tickets import Tickets, TicketsConfig
from trials.stages.tickets import tickets as choose_tickets
from trials.tokens import tickets
from trials.tokens.kept import Removal
from trials.training.budget import Span, pass_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialGraph:
    """The stages of one trial. None = the arm does not have this stage.

    `finetune` is the recovery, whose stage is `reduced` where tokens leave inside the model.

    A trial that is stopped early (`TrialConfig.rungs`) ends with `rung`: it has no `finetune` and
    no `profile`, and `final`, the last node of every trial, is that rung.
    """

    pretrained: Node[Pretrained]
    dense: Node[Dense]
    attention: Node[PatchScores] | None = None
    tickets: Node[Tickets] | None = None
    calibrate: Node[WeightScores] | None = None
    pick: Node[Picked] | None = None
    essential: Node[OneShot] | None = None
    denoise: Node[Candidates] | None = None
    issp: Node[Issp] | None = None
    soup_train: Node[SoupTrained] | None = None
    round_train: Node[RoundTrained] | None = None
    control: Node[OneShot] | None = None
    rung: Node[Rung] | None = None
    finetune: Node[Finetuned] | None
    profile: Node[Profile] | None
    final: Node[Final] | Node[Rung]

    @property
    def mask(self) -> Node[Any] | None:
        """The node that carries the mask of the final model."""
        return self.control or self.issp or self.essential

    @property
    def curve(self) -> tuple[Node[Any], ...]:
        """Levels and probes of the one-shot curve that `sparsity: auto` measures for itself."""
        inputs = self.pick.inputs if self.pick else {}
        found = (inputs.get(name) for name in ("curve", "probes"))
        return tuple(node for nodes in found if isinstance(nodes, tuple) for node in nodes)

    def stages(self) -> dict[str, Node[Any]]:
        """The stages that this arm has, in order, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.rung is not None:
            del found["final"]  # the rung under another name
        return {name: node for name, node in found.items() if node is not None}


def pipeline(trial: TrialConfig, sources: Sources, shared: Shared | None = None) -> TrialGraph:
    """The stages of a trial's arm; see `trials.arms`.

    Args:
        shared: what other trials are made of; equal stages of theirs are then the same nodes.
    """
    return _Builder(trial.resolved(), sources, shared or Shared()).build()


class _Builder:
    """The stages of one trial, each built at most once."""

    def __init__(self, trial: TrialConfig, sources: Sources, shared: Shared) -> None:
        self.trial = fitted(trial, sources.counts, shared.part)
        self.sources, self.shared = sources, shared
        self.identity = PretrainedConfig.of(trial.model, shared.part)
        self.work = Work(self.identity.name, self.identity.kwargs, sources.counts)

    def build(self) -> TrialGraph:
        arm = self.trial.parts
        pruning, soup, one_shot = self.pruning, self.trial.runs_issp, self.trial.prunes_once
        return TrialGraph(
            pretrained=self.pretrained,
            dense=self.dense,
            attention=self.attention if arm.ticketed else None,
            tickets=self.tickets if arm.ticketed else None,
            calibrate=pruning.calibrate if one_shot else None,
            pick=pruning.pick if one_shot else None,
            essential=pruning.essential if one_shot else None,
            denoise=pruning.soup.candidates if soup else None,
            issp=pruning.soup.merged if soup else None,
            soup_train=pruning.soup_train,
            round_train=pruning.round_train,
            control=pruning.control if arm.replaces == "mask" else None,
            rung=self.rung,
            finetune=self.finetune if self.rung is None else None,
            profile=self.profile if self.rung is None else None,
            final=self.final if self.rung is None else self.rung,
        )

    @property
    def removal(self) -> Removal:
        # An arm without tickets ignores how patches would leave.
        return self.trial.tickets.removal if self.trial.parts.ticketed else "gather"

    @property
    def kept_patches(self) -> int | None:
        if not self.trial.parts.ticketed or self.removal != "gather":
            return None
        return tickets.keep_count(self.work.model.patches, self.trial.patch_drop)

    @cached_property
    def pretrained(self) -> Node[Pretrained]:
        # Only complete weights are free of randomness: a fresh head is drawn from the seed.
        seed = self.trial.seed if self.sources.fresh_head else None
        return self._pretrained(self.identity, seed, self.sources.weights)

    def _pretrained(
        self, identity: PretrainedConfig, seed: int | None, weights: Source | None
    ) -> Node[Pretrained]:
        inputs = {"data": self.sources.data, "weights": weights}
        return self.shared.node(pretrained, identity, seed, inputs)

    @cached_property
    def dense(self) -> Node[Dense]:
        cfg, counts = self.shared.part(self.trial.dense, DenseConfig), self.sources.counts
        # A probe looks at the images, and nothing goes back through the blocks.
        seen, scored = (0, counts.train) if cfg.train == "head" else (None, 0)
        work = partial(self.work.epochs, cfg.epochs, cfg.batch_size, seen, scored=scored)
        return self.shared.node(
            dense,
            cfg,
            self.trial.seed if cfg.epochs else None,
            {"data": self.sources.data, "model": self.pretrained},
            lambda: work() + self.work.forward(counts.test),
        )

    @cached_property
    def models(self) -> dict[Literal["pretrained", "adapted"], Node[Any]]:
        """The dense models, as `weights` settings name them."""
        return {"pretrained": self.pretrained, "adapted": self.dense}

    @cached_property
    def pruning(self) -> Pruning:
        """Whatever the arm prunes."""
        data, recover = self.sources.data, self._recover_level
        return Pruning(self.trial, data, self.models, self.work, self.shared, recover)

    @cached_property
    def attention(self) -> Node[PatchScores]:
        counts = self.sources.counts
        section = self.trial.tickets
        return self.shared.node(
            attention,
            self.shared.part(section, AttentionConfig, attention=self.work.model.attention),
            None,
            {"data": self.sources.data, "model": self.models[section.weights]},
            lambda: self.work.forward(
                counts.train + counts.validation + counts.test, batch=SCORE_BATCH
            ),
        )

    @cached_property
    def tickets(self) -> Node[Tickets]:
        select = self.trial.tickets.select
        scope = self.trial.tickets.scope
        cfg = self.shared.config(
            TicketsConfig, patch_drop=self.trial.patch_drop, select=select, scope=scope
        )
        seed = self.trial.seed if select == "random_fixed" else None
        return self.shared.node(choose_tickets, cfg, seed, {"scores": self.attention})

    @cached_property
    def reductions(self) -> Reductions | None:
        """What lets tokens leave inside the model; None = nothing does."""
        reduction = reduction_of(self.trial)
        if reduction is None:
            return None
        kept = self.kept_patches if self._recovery_patches != "all" else None
        return Reductions(self.trial, reduction, self.models, kept, self.work, self.shared)

    @cached_property
    def finetune(self) -> Node[Finetuned]:
        made, arm = self.reductions, self.trial.parts
        if made is None:
            return self._plain_recovery
        inputs = self._recover_inputs()
        if not made.reduction.train:
            # An arm with nothing of its own is finished where it is dense.
            own = arm.mask is not None or arm.ticketed
            return made.as_it_is(inputs, self._plain_recovery if own else self.dense)
        cfg = self._recover_config
        return made.trained(cfg, inputs, self._recovery_work(cfg, cfg.epochs))

    @cached_property
    def _plain_recovery(self) -> Node[Finetuned]:
        cfg = self._recover_config
        work = partial(self._recovery_work, cfg, cfg.epochs)
        return self.shared.node(finetune, cfg, self.trial.seed, self._recover_inputs(), work)

    @cached_property
    def _recover_config(self) -> RecoverConfig:
        trial, section, patches = self.trial, self.trial.finetune, self._recovery_patches
        return self._recipe(
            patches,
            self._online,
            trial.mask_data_fraction if section.data == "other_images" else None,
            self.pruning.rest,
        )

    def _recipe(
        self,
        patches: Literal["all", "ticket", "random"] = "all",
        online: OnlineConfig | None = None,
        other_than: float | None = None,
        span: Span | None = None,
    ) -> RecoverConfig:
        return self.shared.part(
            self.trial.finetune,
            RecoverConfig,
            patches=patches,
            removal=self.removal if patches != "all" else "gather",
            online=online,
            other_than=other_than,
            span=span,
        )

    def _recover_level(self, start: Node[Any], mask: Node[OneShot]) -> Node[Finetuned]:
        """The recovery of a one-shot mask, on all patches of all training images."""
        cfg = self._recipe()
        inputs = {
            "data": self.sources.data,
            "model": start,
            "mask": mask,
            "tickets": None,
            "teacher": self.dense if self.trial.finetune.distill else None,
            "scorer": None,
        }
        work = partial(self._recovery_work, cfg, cfg.epochs)
        return self.shared.node(finetune, cfg, self.trial.seed, inputs, work)

    def _recover_inputs(self) -> dict[str, Any]:
        ticketed = self._recovery_patches != "all"
        scorer = self.models[self.trial.tickets.weights] if self._online else None
        return {
            "data": self.sources.data,
            "model": self._recovery_start(),
            "mask": self.pruning.recovery_mask,
            "tickets": self.tickets if ticketed else None,
            "teacher": self.dense if self.trial.finetune.distill else None,
            "scorer": scorer,
        }

    @cached_property
    def rung(self) -> Node[Rung] | None:
        """The last rung of the trial, on the chain of those below."""
        before: Node[Rung] | None = None
        made = 0
        for stop in self.trial.rungs:
            cfg = self.shared.part(self._recover_config, RungConfig, stop=stop)
            work = partial(self._recovery_work, cfg, stop - made)
            inputs = self._recover_inputs() | {"before": before}
            before = self.shared.node(rung, cfg, self.trial.seed, inputs, work)
            made = stop
        return before

    @property
    def _recovery_patches(self) -> Literal["all", "ticket", "random"]:
        return "all" if self.trial.finetune.data == "other_images" else self.trial.parts.patches

    @property
    def _online(self) -> OnlineConfig | None:
        section, read = self.trial.tickets, self.work.model.attention
        wanted = section.selection == "online" and self._recovery_patches == "ticket"
        return self.shared.part(section, OnlineConfig, attention=read) if wanted else None

    def _recovery_work(self, cfg: RecoverConfig, epochs: float) -> Load:
        if cfg.span is not None:
            whole = pass_steps(self.sources.counts.train, cfg.batch_size)
            epochs = min(epochs, cfg.span.steps / whole)
        images = self.sources.counts.train * (1.0 - (cfg.other_than or 0.0))
        kept = self.kept_patches if cfg.patches != "all" else None
        scored = images if cfg.online else 0.0
        taught = images if cfg.distill else 0.0
        return self.work.epochs(epochs, cfg.batch_size, images, kept, scored, taught)

    def _recovery_start(self) -> Node[Any]:
        weights = self.trial.finetune.weights
        if weights == "random":
            fresh = self.shared.part(self.identity, PretrainedConfig, weights="random")
            return self._pretrained(fresh, self.trial.seed, None)
        if weights == "pretrained":
            return self.pretrained
        if self.trial.parts.mask != "issp":
            return self.dense
        pruning = self.pruning
        trained = pruning.round_train if self.trial.issp.weights == "current" else None
        return trained or pruning.soup_train or pruning.soup.merged

    @cached_property
    def profile(self) -> Node[Profile]:
        drop = self.trial.patch_drop if self.trial.parts.ticketed else 0.0
        settings = {"model": self.identity, "counted": not self.work.model.plain}
        if self.reductions is not None:
            settings["reduction"] = self.reductions.reduction.inference()
        cfg = self.shared.config(ProfileConfig, **settings, patch_drop=drop, removal=self.removal)
        inputs: dict[str, Any] = {"data": self.sources.data}
        if self.trial.parts.ticketed and self.trial.tickets.scope == "global":
            inputs["tickets"] = self.tickets
        return self.shared.node(profile, cfg, None, inputs, self._profile_work)

    def _profile_work(self) -> Load:
        images, passes = min(PROFILE_BATCH, self.sources.counts.train), 1 + REPEATS
        whole, kept = self.work.forward(images), self.work.forward(images, self.kept_patches)
        return passes * (whole + kept)

    @cached_property
    def final(self) -> Node[Final]:
        ticketed = self.trial.parts.ticketed
        inputs: dict[str, Any] = {
            "data": self.sources.data,
            "model": self.finetune,
            "dense": self.dense,
            "mask": self.pruning.final_mask,
            "tickets": self.tickets if ticketed else None,
            "profile": self.profile,
        }
        passes = effort.passes_of(self.finetune, self.sources.counts)
        cfg = self.shared.config(
            EvaluateConfig,
            arm=self.trial.arm,
            removal=self.removal,
            scored=ticketed and effort.reads_scores(self.tickets),
            passes=self.shared.config(Passes, **dict(passes)),
        )
        return self.shared.node(evaluate_final, cfg, None, inputs, self._final_work)

    def _final_work(self) -> Load:
        counts, whole = self.sources.counts, self.work.forward(self.sources.counts.test)
        if self.reductions is not None:
            whole += self.work.forward(counts.validation + counts.test)
        if not self.trial.parts.ticketed or not self.trial.patch_drop:
            return whole
        return whole + self.work.forward(counts.validation + counts.test, self.kept_patches)
