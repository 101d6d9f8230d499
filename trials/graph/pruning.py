"""The prunings of a trial, as a graph: the one-shot mask, ISSP, and the masks of the controls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from trials.config import TrialConfig
from trials.graph.rounds import Rounds, Soup
from trials.graph.schedule import Schedule, schedule_of
from trials.graph.shared import Shared
from trials.model.cost import Work
from trials.sparsity import evidence
from trials.sparsity.criteria import CRITERIA
from trials.stage import Node, Source
from trials.stages.calibrate import CalibrateConfig, WeightScores, calibrate
from trials.stages.essential import (
    OneShot,
    OneShotConfig,
    PickConfig,
    Picked,
    Probe,
    essential,
    pick,
)
from trials.stages.finetune import Finetuned
from trials.stages.probe import ProbeConfig, count_probes, probe
from trials.stages.recovered import RecoveredConfig, recovered
from trials.stages.round_train import RoundTrained
from trials.stages.soup_train import SoupTrained
from trials.training.budget import Span
from trials.training.recipe import TrainConfig


@dataclass(frozen=True)
class Pruning:
    """The stages that make the masks of one trial, each built at most once.

    Attributes:
        trial: its presets are resolved.
        models: the dense models whose weights can be scored and masked.
        recover: the recovery of a level of the one-shot curve: (start, mask) -> model.
    """

    trial: TrialConfig
    data: Source
    models: Mapping[Literal["pretrained", "adapted"], Node[Any]]
    work: Work
    shared: Shared
    recover: Callable[[Node[Any], Node[OneShot]], Node[Finetuned]]

    @cached_property
    def calibrate(self) -> Node[WeightScores] | None:
        """The scores that all levels share; None for a criterion that reads the weights alone."""
        section, train = self.trial.essential, self.work.counts.train
        criterion = CRITERIA[section.criterion]
        if not criterion.needs_data:
            return None
        images = min(section.calibration_images, train)
        gradients = criterion.needs == "gradients"
        return self.shared.node(
            calibrate,
            self.shared.part(section, CalibrateConfig, calibration_images=images),
            self.trial.seed if images < train else None,
            {"data": self.data, "scored": self.models[section.weights]},
            lambda: (
                self.work.training(images, evidence.BATCH)
                if gradients
                else self.work.forward(images, batch=evidence.BATCH)
            ),
        )

    @cached_property
    def pick(self) -> Node[Picked] | None:
        """The essential sparsity, for `sparsity: auto`; None where the level is given."""
        if self.trial.sparsity != "auto":
            return None
        section = self.trial.essential
        curve = tuple(self._one_shot(level, None) for level in section.levels)
        probes = self._probes(curve)
        inputs: dict[str, Any] = {"model": self.models["adapted"], "curve": curve, "probes": probes}
        return self.shared.node(pick, self.shared.part(section, PickConfig), None, inputs)

    def _probes(self, curve: tuple[Node[OneShot], ...]) -> tuple[Node[Probe], ...]:
        """The bisection after the coarse levels, each step reading all that came before."""
        section = self.trial.essential
        if section.refine is None:
            return ()
        made: tuple[Node[Probe], ...] = ()
        one_shot = self.shared.part(curve[0].config, OneShotConfig, sparsity=None)
        cfg = self.shared.part(section, ProbeConfig, one_shot=one_shot)
        for _ in range(count_probes(section.levels, section.refine)):
            inputs = self._mask_inputs(section.weights, None, None, self.calibrate, section.start)
            known = {name: inputs[name] for name in ("data", "model", "scored", "scores")}
            known |= {"curve": curve, "probes": made}
            made += (self.shared.node(probe, cfg, curve[0].seed, known, curve[0].work),)
        return made

    @cached_property
    def essential(self) -> Node[OneShot]:
        """The first mask M1, at the trial's level or at the one that was picked."""
        return self._one_shot(self._level, self.pick)

    @property
    def _level(self) -> float | None:
        return None if self.trial.sparsity == "auto" else self.trial.sparsity

    def _one_shot(self, level: float | None, picked: Node[Picked] | None) -> Node[OneShot]:
        """A level as the curve reads it."""
        section = self.trial.essential
        mask = self._mask(level, picked)
        if not section.recovers:
            return mask
        model, zero = self._recovered(mask), None
        if section.reference == "level_zero":
            zero = self._recovered(self._mask(0.0, None))
        inputs = {"mask": mask, "model": model, "reference": zero}
        cfg = self.shared.config(RecoveredConfig, sparsity=level)
        found: Node[Any] = self.shared.node(recovered, cfg, None, inputs)
        return found

    def _recovered(self, mask: Node[OneShot]) -> Node[Finetuned]:
        return self.recover(self.models[self.trial.essential.start], mask)

    def _mask(self, level: float | None, picked: Node[Picked] | None) -> Node[OneShot]:
        """The mask of a level, and what the start is worth under it, at once or recovered."""
        section, epochs = self.trial.essential, self.trial.finetune.epochs
        recover = section.evaluate == "after_finetune" and not section.recovers
        cfg = self.shared.part(
            section,
            OneShotConfig,
            sparsity=level,
            evaluate="after_finetune" if recover else "one_shot",
            recipe=self.shared.part(self.trial.finetune, TrainConfig) if recover else None,
            epochs=epochs if recover else 0,
        )
        return self.shared.node(
            essential,
            cfg,
            self.trial.seed if recover or CRITERIA[section.criterion].draws else None,
            self._mask_inputs(section.weights, picked, None, self.calibrate, section.start),
            lambda: (
                self.work.validation()
                + self.work.epochs(cfg.epochs, self.trial.finetune.batch_size)
            ),
        )

    def _mask_inputs(
        self,
        weights: Literal["pretrained", "adapted"],
        picked: Node[Picked] | None,
        like: Node[Any] | None,
        scores: Node[WeightScores] | None,
        start: Literal["pretrained", "adapted"],
    ) -> dict[str, Any]:
        return {
            "data": self.data,
            "model": self.models[start],
            "scored": self.models[weights],
            "picked": picked,
            "like": like,
            "scores": scores,
        }

    @cached_property
    def soup(self) -> Soup:
        """ISSP's last round."""
        start = self.models[self.trial.issp.start]
        inputs = {"data": self.data, "model": start, "first": self.essential}
        rewind = self.models["pretrained"]
        schedule = self.schedule
        return Rounds(self.trial, inputs, rewind, self.work, self.shared, schedule).build()

    @cached_property
    def schedule(self) -> Schedule | None:
        """Of the trainings before the prunes, and of the recovery; see `trials.graph.schedule`."""
        return schedule_of(self.trial, self.work.counts.train)

    @property
    def soup_train(self) -> Node[SoupTrained] | None:
        """The training after the last round, where the recovery goes on from its weights."""
        chosen = self.trial.issp.weights, self.trial.finetune.weights
        wanted = self.trial.parts.mask == "issp" and chosen == ("current", "current")
        return self.soup.soup_train if wanted else None

    @property
    def round_train(self) -> Node[RoundTrained] | None:
        """The training before the last prune, whose weights that prunes."""
        return self.soup.round_train if self.trial.runs_issp else None

    @property
    def rest(self) -> Span | None:
        """Where the recovery lies in the schedule that the rounds began."""
        found = self.schedule if self.trial.parts.mask == "issp" else None
        return found.rest if found else None

    @cached_property
    def control(self) -> Node[OneShot]:
        """The mask that replaces ISSP's, at the sparsity at which that ends."""
        criterion = str(self.trial.parts.mask)  # `trials.arms`: of a control, its name
        like = self.soup.merged if self.trial.runs_issp else None
        cfg = self.shared.config(
            OneShotConfig,
            sparsity=None if like else self.trial.issp.target_sparsity,
            criterion=criterion,
        )
        return self.shared.node(
            essential,
            cfg,
            self.trial.seed if CRITERIA[criterion].draws else None,
            self._mask_inputs(self.trial.essential.weights, None, like, None, self._masked),
            self.work.validation,
        )

    @property
    def _masked(self) -> Literal["pretrained", "adapted"]:
        """What a control masks and evaluates: the weights that ISSP starts from."""
        return self.trial.issp.start

    @property
    def recovery_mask(self) -> Node[Any] | None:
        """The mask under which the arm's model is recovered: that of a level, where its recovery
        may be the arm's own."""
        if self.trial.parts.mask == "one_shot":
            return self._mask(self._level, self.pick)
        return self.final_mask

    @property
    def final_mask(self) -> Node[Any] | None:
        """The node that carries the mask of the arm's model; None = nothing is pruned."""
        parts = self.trial.parts
        if parts.replaces == "mask":
            return self.control
        if parts.mask == "issp":
            return self.soup.merged
        return self.essential if parts.mask == "one_shot" else None
