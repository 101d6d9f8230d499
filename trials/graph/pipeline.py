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
from trials.graph.recovery import Recipes, Recovery
from trials.graph.shared import Shared
from trials.graph.sources import Sources
from trials.graph.ticketing import Ticketing
from trials.model.cost import Passes, Work
from trials.stage import Load, Node, Source
from trials.stages.attention import PatchScores
from trials.stages.calibrate import WeightScores
from trials.stages.denoise import Candidates
from trials.stages.dense import Dense, DenseConfig, dense
from trials.stages.essential import OneShot, Picked
from trials.stages.evaluate import EvaluateConfig, Final, evaluate_final
from trials.stages.finetune import Finetuned
from trials.stages.issp import Issp
from trials.stages.pretrained import Pretrained, PretrainedConfig, pretrained
from trials.stages.profile import BATCH as PROFILE_BATCH
from trials.stages.profile import REPEATS, Profile, ProfileConfig, profile
from trials.stages.round_train import RoundTrained
from trials.stages.rung import Rung
from trials.stages.soup_train import SoupTrained
from trials.stages.tickets import Tickets


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialGraph:
    """The stages of one trial. None = the arm does not have this stage.

    `finetune` is the recovery, whose stage is `reduced` where tokens leave inside the model, and
    `selector` the dense model that is tuned to choose patches.

    A trial that is stopped early (`TrialConfig.rungs`) ends with `rung`: it has no `finetune` and
    no `profile`, and `final`, the last node of every trial, is that rung.
    """

    pretrained: Node[Pretrained]
    dense: Node[Dense]
    selector: Node[Finetuned] | None = None
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
        ticketing, recovery = self.ticketing, self.recovery
        return TrialGraph(
            pretrained=self.pretrained,
            dense=self.dense,
            selector=ticketing.selector if arm.ticketed else None,
            attention=ticketing.attention if arm.ticketed else None,
            tickets=ticketing.tickets if arm.ticketed else None,
            calibrate=pruning.calibrate if one_shot else None,
            pick=pruning.pick if one_shot else None,
            essential=pruning.essential if one_shot else None,
            denoise=pruning.soup.candidates if soup else None,
            issp=pruning.soup.merged if soup else None,
            soup_train=pruning.soup_train,
            round_train=pruning.round_train,
            control=pruning.control if arm.replaces == "mask" else None,
            rung=recovery.rung,
            finetune=recovery.finetune if recovery.rung is None else None,
            profile=self.profile if recovery.rung is None else None,
            final=self.final if recovery.rung is None else recovery.rung,
        )

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
    def ticketing(self) -> Ticketing:
        """Whatever the arm drops of an image."""
        return Ticketing(self.trial, self.sources.data, self.models, self.work, self.shared)

    @cached_property
    def recipes(self) -> Recipes:
        """How its recoveries are trained."""
        return Recipes(self.trial, self.ticketing, self.work, self.shared)

    @cached_property
    def pruning(self) -> Pruning:
        """Whatever the arm prunes."""
        data = self.sources.data
        recover = partial(self.recipes.level, data, self.dense)
        return Pruning(self.trial, data, self.models, self.work, self.shared, recover)

    @cached_property
    def recovery(self) -> Recovery:
        """Whatever is trained after that."""
        data, recipes = self.sources.data, self.recipes
        return Recovery(self.trial, data, self.models, self._random, recipes, self.pruning)

    def _random(self) -> Node[Pretrained]:
        fresh = self.shared.part(self.identity, PretrainedConfig, weights="random")
        return self._pretrained(fresh, self.trial.seed, None)

    @cached_property
    def profile(self) -> Node[Profile]:
        ticketing = self.ticketing
        settings = {"model": self.identity, "counted": not self.work.model.plain}
        if (made := self.recovery.reductions) is not None:
            settings["reduction"] = made.reduction.inference()
        settings |= {"patch_drop": ticketing.drop, "removal": ticketing.removal}
        cfg = self.shared.config(ProfileConfig, **settings)
        inputs: dict[str, Any] = {"data": self.sources.data}
        if self.trial.parts.ticketed and self.trial.tickets.scope == "global":
            inputs["tickets"] = ticketing.tickets
        return self.shared.node(profile, cfg, None, inputs, self._profile_work)

    def _profile_work(self) -> Load:
        images, passes = min(PROFILE_BATCH, self.sources.counts.train), 1 + REPEATS
        kept = self.work.forward(images, self.ticketing.kept_patches)
        return passes * (self.work.forward(images) + kept)

    @cached_property
    def final(self) -> Node[Final]:
        ticketed, recovered = self.trial.parts.ticketed, self.recovery.finetune
        tickets = self.ticketing.tickets if ticketed else None
        inputs: dict[str, Any] = {
            "data": self.sources.data,
            "model": recovered,
            "dense": self.dense,
            "mask": self.pruning.final_mask,
            "tickets": tickets,
            "profile": self.profile,
        }
        passes = effort.passes_of(recovered, self.sources.counts)
        drawn = self.trial.nested and self.trial.parts.patches == "random"
        cfg = self.shared.config(
            EvaluateConfig,
            arm=self.trial.arm,
            removal=self.ticketing.removal,
            scored=tickets is not None and effort.reads_scores(tickets),
            passes=self.shared.config(Passes, **dict(passes)),
            selector_keep=self.ticketing.nested_keep,
            drawn_by=self.trial.seed if drawn else None,
        )
        return self.shared.node(evaluate_final, cfg, None, inputs, self._final_work)

    def _final_work(self) -> Load:
        counts, whole = self.sources.counts, self.work.forward(self.sources.counts.test)
        if self.recovery.reductions is not None:
            whole += self.work.forward(counts.validation + counts.test)
        if not self.ticketing.drop:
            return whole
        kept = self.ticketing.kept_patches
        return whole + self.work.forward(counts.validation + counts.test, kept)
