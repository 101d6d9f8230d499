"""The rounds of ISSP, as a graph: ingredients, merge and, where asked for, training, in turn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trials.config import TrialConfig
from trials.graph.schedule import Schedule
from trials.graph.shared import Shared
from trials.model.cost import Work
from trials.stage import Load, Node
from trials.stages.denoise import Candidates, DenoiseConfig, denoise
from trials.stages.issp import EXACT, Issp, IsspConfig, issp
from trials.stages.round_train import RoundTrainConfig, RoundTrained, round_train
from trials.stages.soup_train import SoupTrainConfig, SoupTrained, soup_train
from trials.training.budget import (
    left_steps,
    look_ahead_steps,
    pass_steps,
    round_share,
    share_images,
)
from trials.training.recipe import TrainConfig


@dataclass(frozen=True, slots=True)
class Soup:
    """The stages of the last round.

    Attributes:
        soup_train: the training after the last prune; None unless rounds train then.
        round_train: the training before the last prune; None unless rounds train first.
    """

    candidates: Node[Candidates]
    merged: Node[Issp]
    soup_train: Node[SoupTrained] | None = None
    round_train: Node[RoundTrained] | None = None


@dataclass(frozen=True, slots=True)
class Rounds:
    """Builds the rounds of one trial, whose presets are resolved.

    Attributes:
        inputs: `data`, `model` (theta of round 1) and `first` (the one-shot mask).
        rewind: the pretrained weights.
        schedule: of the trainings before the prunes; None where rounds do not train first.
    """

    trial: TrialConfig
    inputs: Mapping[str, Any]
    rewind: Node[Any]
    work: Work
    shared: Shared
    schedule: Schedule | None

    def build(self) -> Soup:
        """All rounds, each inside the mask of the one before."""
        if self.schedule is not None:
            return self._trained_rounds(self.schedule)
        soup = self._round(1, {**self.inputs, "within": None})
        for number in range(2, self.trial.issp_rounds + 1):
            theta = soup.soup_train or self.inputs["model"]
            soup = self._round(number, {**self.inputs, "model": theta, "within": soup.merged})
        return soup

    def _trained_rounds(self, schedule: Schedule) -> Soup:
        """The same where every round trains before it prunes."""
        theta, mask, within = self.inputs["model"], self.inputs["first"], None
        for number, span in enumerate(schedule.rounds, start=1):
            cfg = self.shared.config(
                RoundTrainConfig, recipe=schedule.recipe, span=span, round=number
            )
            given = {"data": self.inputs["data"], "model": theta, "mask": mask}
            theta = self.shared.node(
                round_train, cfg, self.trial.seed, given, partial(self._round_work, cfg)
            )
            soup = self._round(number, {**self.inputs, "model": theta, "within": within})
            mask = within = soup.merged
        return replace(soup, round_train=theta)

    def _round(self, number: int, inputs: dict[str, Any]) -> Soup:
        section = self.trial.issp
        place = {
            "rounds": self.trial.issp_rounds,
            "round": number,
            "last_hits_target": section.schedule != "remaining" or section.merge in EXACT,
        }
        candidates = self._candidates(number, inputs, place)
        merged: Node[Issp] = self.shared.node(
            issp,
            self.shared.part(section, IsspConfig, **place),
            None,
            inputs | {"rewind": self.rewind, "candidates": candidates},
            self.work.validation,
        )
        progressive = section.round_training == "progressive"
        trained = self._soup_train(number, inputs, merged) if progressive else None
        return Soup(candidates, merged, trained)

    def _candidates(
        self, number: int, inputs: dict[str, Any], place: dict[str, Any]
    ) -> Node[Candidates]:
        section, changes = self.trial.issp, dict(place)
        changes["mask_data_fraction"] = self._share(number)
        changes["mean_weights"] = section.weights == "ingredient_mean"
        if section.look_ahead == "recovery":
            recovery, images = self.trial.finetune, self.work.counts.train
            changes["recipe"] = self.shared.part(recovery, TrainConfig)
            changes["steps"] = recovery.epochs * pass_steps(images, recovery.batch_size)
            changes["mask_data_fraction"] = 1.0
        cfg = self.shared.part(section, DenoiseConfig, **changes)
        work = partial(self._denoise_work, cfg)
        return self.shared.node(denoise, cfg, self.trial.seed, inputs, work)

    def _soup_train(
        self, number: int, inputs: dict[str, Any], merged: Node[Issp]
    ) -> Node[SoupTrained]:
        share = self._share(number)
        cfg = self.shared.part(
            self.trial.issp, SoupTrainConfig, mask_data_fraction=share, round=number
        )
        given = {"data": inputs["data"], "model": inputs["model"], "mask": merged}
        work = partial(self._train_work, share)
        return self.shared.node(soup_train, cfg, self.trial.seed, given, work)

    def _share(self, number: int) -> float:
        fraction = self.trial.mask_data_fraction
        growing = self.trial.issp.round_training == "progressive"
        return round_share(fraction, number) if growing else fraction

    def _denoise_work(self, cfg: DenoiseConfig) -> Load:
        batch = cfg.recipe.batch_size if cfg.recipe else cfg.batch_size
        images = share_images(self.work.counts.train, cfg.mask_data_fraction)
        steps = look_ahead_steps(cfg.steps, images, batch)
        return cfg.ingredients * self.work.steps(steps, images, batch)

    def _round_work(self, cfg: RoundTrainConfig) -> Load:
        return self.work.steps(cfg.span.steps, self.work.counts.train, cfg.recipe.batch_size)

    def _train_work(self, share: float) -> Load:
        section, images = self.trial.issp, share_images(self.work.counts.train, share)
        spent = section.ingredients if section.count_look_ahead else 0
        left = left_steps(section.steps, spent, images, section.batch_size)
        return self.work.steps(left, images, section.batch_size) + self.work.validation()
