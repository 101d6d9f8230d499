"""The rounds of ISSP, as a graph: ingredients, merge and, where asked for, training, in turn."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from trials.config import TrialConfig
from trials.graph.shared import Shared
from trials.model.cost import Work
from trials.stage import Load, Node
from trials.stages.denoise import Candidates, DenoiseConfig, denoise
from trials.stages.issp import EXACT, Issp, IsspConfig, issp
from trials.stages.soup_train import SoupTrainConfig, SoupTrained, soup_train
from trials.training.budget import left_steps, look_ahead_steps, round_share, share_images


@dataclass(frozen=True, slots=True)
class Soup:
    """The stages of the last round.

    Attributes:
        trained: the weights after the last round; None unless rounds train them.
    """

    candidates: Node[Candidates]
    merged: Node[Issp]
    trained: Node[SoupTrained] | None


@dataclass(frozen=True, slots=True)
class Rounds:
    """Builds the rounds of one trial, whose presets are resolved.

    Attributes:
        inputs: `data`, `model` (theta of round 1) and `first` (the one-shot mask).
        rewind: the pretrained weights.
    """

    trial: TrialConfig
    inputs: Mapping[str, Any]
    rewind: Node[Any]
    work: Work
    shared: Shared

    def build(self) -> Soup:
        """All rounds, each inside the mask of the one before."""
        soup = self._round(1, {**self.inputs, "within": None})
        for number in range(2, self.trial.issp.rounds + 1):
            theta = soup.trained or self.inputs["model"]
            soup = self._round(number, {**self.inputs, "model": theta, "within": soup.merged})
        return soup

    def _round(self, number: int, inputs: dict[str, Any]) -> Soup:
        section, seed = self.trial.issp, self.trial.seed
        place = {
            "round": number,
            "last_hits_target": section.schedule != "remaining" or section.merge in EXACT,
        }
        share = self._share(number)
        mean = section.weights == "ingredient_mean"
        cfg = self.shared.part(
            section, DenoiseConfig, mask_data_fraction=share, mean_weights=mean, **place
        )
        work = partial(self._denoise_work, share)
        candidates: Node[Candidates] = self.shared.node(denoise, cfg, seed, inputs, work)
        merged: Node[Issp] = self.shared.node(
            issp,
            self.shared.part(section, IsspConfig, **place),
            None,
            inputs | {"rewind": self.rewind, "candidates": candidates},
            self.work.validation,
        )
        trained: Node[SoupTrained] | None = None
        if section.round_training == "progressive":
            training = self.shared.part(
                section, SoupTrainConfig, mask_data_fraction=share, round=number
            )
            given = {"data": inputs["data"], "model": inputs["model"], "mask": merged}
            trained = self.shared.node(
                soup_train, training, seed, given, partial(self._train_work, share)
            )
        return Soup(candidates, merged, trained)

    def _share(self, number: int) -> float:
        fraction = self.trial.mask_data_fraction
        growing = self.trial.issp.round_training == "progressive"
        return round_share(fraction, number) if growing else fraction

    def _denoise_work(self, share: float) -> Load:
        section, images = self.trial.issp, share_images(self.work.counts.train, share)
        steps = look_ahead_steps(section.steps, images, section.batch_size)
        return section.ingredients * self.work.steps(steps, images, section.batch_size)

    def _train_work(self, share: float) -> Load:
        section, images = self.trial.issp, share_images(self.work.counts.train, share)
        left = left_steps(section.steps, section.ingredients, images, section.batch_size)
        return self.work.steps(left, images, section.batch_size) + self.work.validation()
