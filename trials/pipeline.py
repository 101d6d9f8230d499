"""The order of the stages, per arm; nothing else.

Nothing runs here: the result is a graph that an executor walks.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from trials import cost, tickets, vit
from trials.config import MASKED, TICKETED, TrialConfig
from trials.sources import Sources
from trials.stage import Node, Source
from trials.stages.attention import AttentionConfig, PatchScores, attention
from trials.stages.denoise import Candidates, DenoiseConfig, denoise
from trials.stages.dense import Dense, DenseConfig, dense
from trials.stages.essential import (
    OneShot,
    OneShotConfig,
    PickConfig,
    Picked,
    Probe,
    essential,
    pick,
)
from trials.stages.evaluate import EvaluateConfig, Final, evaluate_final
from trials.stages.finetune import Finetuned, RecoverConfig, finetune
from trials.stages.issp import EXACT, Issp, IsspConfig, issp
from trials.stages.pretrained import Pretrained, PretrainedConfig, pretrained
from trials.stages.probe import ProbeConfig, count_probes, probe
from trials.stages.profile import Profile, ProfileConfig, profile
from trials.stages.tickets import Tickets, TicketsConfig
from trials.stages.tickets import tickets as choose_tickets
from trials.train import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialGraph:
    """The stages of one trial. None = the arm does not have this stage."""

    pretrained: Node[Pretrained]
    dense: Node[Dense]
    attention: Node[PatchScores] | None = None
    tickets: Node[Tickets] | None = None
    pick: Node[Picked] | None = None
    essential: Node[OneShot] | None = None
    denoise: Node[Candidates] | None = None
    issp: Node[Issp] | None = None
    control: Node[OneShot] | None = None
    finetune: Node[Finetuned]
    profile: Node[Profile]
    final: Node[Final]

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
        return {name: node for name, node in found.items() if node is not None}


def pipeline(trial: TrialConfig, sources: Sources) -> TrialGraph:
    """The stages of a trial's arm.

    `dense` only fine-tunes; `tickets`, `essential` and `issp` add one phase each (`issp` both
    prunings); `lotus` has everything. The controls are `lotus` with one thing replaced:
    `random_patches` the tickets, `random_mask` and `magnitude` the mask, at ISSP's sparsity.
    """
    return _Builder(trial, sources).build()


class _Builder:
    """The stages of one trial, each built at most once."""

    def __init__(self, trial: TrialConfig, sources: Sources) -> None:
        self.trial, self.sources = trial, sources
        self.identity = PretrainedConfig.of(trial.model)

    def build(self) -> TrialGraph:
        arm = self.trial.arm
        ticketed, masked = arm in TICKETED, arm in MASKED
        control = self.control if arm in ("random_mask", "magnitude") else None
        soup = masked or (control is not None and self.control_follows_issp)
        return TrialGraph(
            pretrained=self.pretrained,
            dense=self.dense,
            attention=self.attention if ticketed else None,
            tickets=self.tickets if ticketed else None,
            pick=self.pick if (soup or arm == "essential") else None,
            essential=self.essential if (soup or arm == "essential") else None,
            denoise=self.soup[0] if soup else None,
            issp=self.soup[1] if soup else None,
            control=control,
            finetune=self.finetune,
            profile=self.profile,
            final=self.final,
        )

    @cached_property
    def shape(self) -> vit.Shape:
        counts = self.sources.counts
        known = {"num_classes": counts.classes, "in_chans": counts.channels}
        return vit.shape_of(self.identity.name, known | self.identity.kwargs)

    def forward_macs(self, images: int, kept: int | None = None) -> float:
        return images * cost.forward_macs(self.shape, kept)

    @property
    def removal(self) -> vit.Removal:
        # An arm without tickets ignores how patches would leave.
        return self.trial.tickets.removal if self.trial.arm in TICKETED else "gather"

    @property
    def kept_patches(self) -> int | None:
        if self.trial.arm not in TICKETED or self.removal != "gather":
            return None
        return tickets.keep_count(self.shape.patches, self.trial.patch_drop)

    @cached_property
    def pretrained(self) -> Node[Pretrained]:
        # Only complete weights are free of randomness: a fresh head is drawn from the seed.
        seed = self.trial.seed if self.sources.fresh_head else None
        return self._pretrained(self.identity, seed, self.sources.weights)

    def _pretrained(
        self, identity: PretrainedConfig, seed: int | None, weights: Source | None
    ) -> Node[Pretrained]:
        inputs = {"data": self.sources.data, "weights": weights}
        return Node(pretrained, identity, seed, inputs)

    @cached_property
    def dense(self) -> Node[Dense]:
        cfg, counts = self.trial.dense.part(DenseConfig), self.sources.counts
        return Node(
            dense,
            cfg,
            self.trial.seed if cfg.epochs else None,
            {"data": self.sources.data, "model": self.pretrained},
            lambda: self._epochs_macs(cfg.epochs) + self.forward_macs(counts.test),
        )

    def _epochs_macs(self, epochs: int, kept: int | None = None) -> float:
        counts = self.sources.counts
        per_epoch = cost.training_macs(self.shape, counts.train, kept)
        return epochs * (per_epoch + self.forward_macs(counts.validation))

    @cached_property
    def attention(self) -> Node[PatchScores]:
        counts = self.sources.counts
        section = self.trial.tickets
        return Node(
            attention,
            section.part(AttentionConfig),
            None,
            {"data": self.sources.data, "model": self._weights(section.weights)},
            lambda: self.forward_macs(counts.train + counts.validation + counts.test),
        )

    def _weights(self, which: str) -> Node[Any]:
        return self.pretrained if which == "pretrained" else self.dense

    @cached_property
    def tickets(self) -> Node[Tickets]:
        select = self.trial.tickets.select
        cfg = TicketsConfig(patch_drop=self.trial.patch_drop, select=select)
        seed = self.trial.seed if select == "random_fixed" else None
        return Node(choose_tickets, cfg, seed, {"scores": self.attention})

    @cached_property
    def pick(self) -> Node[Picked] | None:
        if self.trial.sparsity != "auto":
            return None
        section = self.trial.essential
        curve = tuple(self._one_shot(level, None) for level in section.levels)
        probes = self._probes(curve)
        inputs: dict[str, Any] = {"model": self.dense, "curve": curve, "probes": probes}
        return Node(pick, section.part(PickConfig), None, inputs)

    def _probes(self, curve: tuple[Node[OneShot], ...]) -> tuple[Node[Probe], ...]:
        """The bisection after the coarse levels, each step reading all that came before."""
        section = self.trial.essential
        if section.refine is None:
            return ()
        made: tuple[Node[Probe], ...] = ()
        one_shot = curve[0].config.model_copy(update={"sparsity": None})
        cfg = section.part(ProbeConfig, one_shot=one_shot)
        for _ in range(count_probes(section.levels, section.refine)):
            inputs = self._mask_inputs(section.weights, None, None)
            known = {name: inputs[name] for name in ("data", "model", "scored")}
            known |= {"curve": curve, "probes": made}
            made += (Node(probe, cfg, curve[0].seed, known, curve[0].work_macs),)
        return made

    @cached_property
    def essential(self) -> Node[OneShot]:
        level = self.trial.sparsity
        return self._one_shot(None if level == "auto" else level, self.pick)

    def _one_shot(self, level: float | None, picked: Node[Picked] | None) -> Node[OneShot]:
        section, epochs = self.trial.essential, self.trial.finetune.epochs
        recover = section.evaluate == "after_finetune"
        cfg = OneShotConfig(
            sparsity=level,
            evaluate=section.evaluate,
            recipe=self.trial.finetune.part(TrainConfig) if recover else None,
            epochs=epochs if recover else 0,
        )
        return Node(
            essential,
            cfg,
            self.trial.seed if recover else None,
            self._mask_inputs(section.weights, picked, None),
            lambda: (
                self.forward_macs(self.sources.counts.validation) + self._epochs_macs(cfg.epochs)
            ),
        )

    def _mask_inputs(
        self, weights: str, picked: Node[Picked] | None, like: Node[Any] | None
    ) -> dict[str, Any]:
        return {
            "data": self.sources.data,
            "model": self.dense,
            "scored": self._weights(weights),
            "picked": picked,
            "like": like,
        }

    @cached_property
    def soup(self) -> tuple[Node[Candidates], Node[Issp]]:
        """The candidates and the merged mask of the last round."""
        section, trial = self.trial.issp, self.trial
        merged: Node[Issp] | None = None
        for number in range(1, section.rounds + 1):
            inputs: dict[str, Any] = {
                "data": self.sources.data,
                "model": self.dense,
                "first": self.essential,
                "within": merged,
            }
            cfg = section.part(
                DenoiseConfig,
                mask_data_fraction=trial.mask_data_fraction,
                round=number,
                mean_weights=section.weights == "ingredient_mean",
            )
            candidates: Node[Candidates] = Node(denoise, cfg, trial.seed, inputs, self._soup_macs)
            merged = Node(
                issp,
                section.part(IsspConfig, round=number),
                None,
                inputs | {"rewind": self.pretrained, "candidates": candidates},
                lambda: self.forward_macs(self.sources.counts.validation),
            )
        assert merged is not None
        return candidates, merged

    def _soup_macs(self) -> float:
        section = self.trial.issp
        return cost.training_macs(
            self.shape, section.ingredients * section.steps * section.batch_size
        )

    @property
    def control_follows_issp(self) -> bool:
        """Whether ISSP's final sparsity is only known once it has run."""
        section = self.trial.issp
        return section.merge not in EXACT or section.sparsity_reference == "relative"

    @cached_property
    def control(self) -> Node[OneShot]:
        by_magnitude = self.trial.arm == "magnitude"
        like = self.soup[1] if self.control_follows_issp else None
        cfg = OneShotConfig(
            sparsity=None if like else self.trial.issp.target_sparsity,
            criterion="magnitude" if by_magnitude else "random",
        )
        return Node(
            essential,
            cfg,
            None if by_magnitude else self.trial.seed,
            self._mask_inputs(self.trial.essential.weights, None, like),
            lambda: self.forward_macs(self.sources.counts.validation),
        )

    @property
    def _final_mask(self) -> Node[Any] | None:
        arm = self.trial.arm
        if arm in MASKED:
            return self.soup[1]
        if arm in ("random_mask", "magnitude"):
            return self.control
        return self.essential if arm == "essential" else None

    @cached_property
    def finetune(self) -> Node[Finetuned]:
        section, arm = self.trial.finetune, self.trial.arm
        patches = "all"
        if arm in TICKETED:
            patches = "random" if arm == "random_patches" else "ticket"
        cfg = section.part(RecoverConfig, patches=patches, removal=self.removal)
        inputs: dict[str, Any] = {
            "data": self.sources.data,
            "model": self._recovery_start(),
            "mask": self._final_mask,
            "tickets": self.tickets if arm in TICKETED else None,
            "teacher": self.dense if section.distill else None,
        }
        work = lambda: self._epochs_macs(cfg.epochs, self.kept_patches)  # noqa: E731
        return Node(finetune, cfg, self.trial.seed, inputs, work)

    def _recovery_start(self) -> Node[Any]:
        weights = self.trial.finetune.weights
        if weights == "random":
            fresh = self.identity.model_copy(update={"weights": "random"})
            return self._pretrained(fresh, self.trial.seed, None)
        if weights == "pretrained":
            return self.pretrained
        return self.soup[1] if self.trial.arm in MASKED else self.dense

    @cached_property
    def profile(self) -> Node[Profile]:
        drop = self.trial.patch_drop if self.trial.arm in TICKETED else 0.0
        cfg = ProfileConfig(model=self.identity, patch_drop=drop, removal=self.removal)
        return Node(profile, cfg, None, {"data": self.sources.data})

    @cached_property
    def final(self) -> Node[Final]:
        counts = self.sources.counts
        inputs: dict[str, Any] = {
            "data": self.sources.data,
            "model": self.finetune,
            "dense": self.dense,
            "mask": self._final_mask,
            "tickets": self.tickets if self.trial.arm in TICKETED else None,
            "profile": self.profile,
        }
        cfg = EvaluateConfig(arm=self.trial.arm, removal=self.removal)
        work = lambda: self.forward_macs(counts.validation + 2 * counts.test)  # noqa: E731
        return Node(evaluate_final, cfg, None, inputs, work)
