"""A sweep file for somebody's data, model and budget, with the reason of each choice beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.commands.draft_text import About, text
from orchestrator.commands.fitting import Effort, choices, fit
from orchestrator.commands.foreseeing import predicted_words
from orchestrator.commands.looking import Seen
from orchestrator.planning.assuming import known_sources
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import Forecast, forecast
from orchestrator.planning.plan import plan
from orchestrator.storage.store import Entry
from trials.cores import usable_cores
from trials.data.datasets import Counts
from trials.errors import ModelError
from trials.graph.sources import identity_of, place_of
from trials.model.capability import Capability, capability_of
from trials.model.vit import ModelConfig

SIDES = (518, 448, 384, 336, 320, 256, 224, 192, 160, 128, 112, 96, 64, 48, 32)
"""Pixels that are tried below what a model was made for, rounded to its patches."""

FEWEST, ENOUGH = 4, 7
"""Patches a side: fewer leave nothing to drop; so many are wanted of a model from scratch."""

PATCHES = (16, 14, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a sweep is wanted for.

    Attributes:
        weights: as `model.pretrained`.
        budget_h: device-hours.
        command: that was typed, to be written down.
    """

    name: str
    data: Seen
    model: str
    weights: bool | str
    budget_h: float
    gpu: bool
    command: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A sweep file, and what it would cost."""

    text: str
    predicted: Forecast
    sweep: SweepConfig


class Drafter:
    """Drafts for one wish.

    Args:
        entries: of the store, whose measurements the forecast rests on.

    Raises:
        ModelError: the model cannot be built, or its weights cannot be used.
    """

    def __init__(self, wish: Wish, entries: Sequence[Entry]) -> None:
        self.wish, self.entries = wish, entries
        self.counts = wish.data.counts
        self.native = self._capability({})
        self.made_for, self.patch = self.native.image[0], self.native.patch[0]
        model = ModelConfig(name=wish.model, pretrained=wish.weights)
        self.weights = identity_of(
            model, place_of(model), self.counts.classes
        )  # once: a file's digest takes a while

    def draft(self) -> Draft:
        """The best sweep that the budget allows.

        Raises:
            TooLittleError: it allows none.
        """
        adapted = self.wish.weights is not False
        possible = choices(self._sides(), self.counts.train, adapted=adapted)
        effort, _ = fit(possible, lambda one: self._predict(one).device_hours, self.wish.budget_h)
        raw, predicted = self.raw(effort), self._predict(effort)
        sweep = SweepConfig.model_validate(raw)
        about = About(
            made_for=self.made_for,
            patches=self._capability(self._kwargs(effort.pixels)).patches,
            parts=self._split(effort),
            cost=predicted_words(sweep, predicted),
        )
        return Draft(text(raw, effort, self.wish, about), predicted, sweep)

    def raw(self, effort: Effort) -> dict[str, Any]:
        """The sweep file as a mapping."""
        adapted, wish = self.wish.weights is not False, self.wish
        return {
            "name": wish.name,
            "data": self._data(effort),
            "model": self._model(effort),
            "dense": self._recipe(effort, effort.epochs[0], 1e-4 if adapted else 1e-3),
            "tickets": self._tickets(),
            "essential": {"tolerance": self._tolerance(effort), "levels": list(effort.levels)},
            "issp": {
                "target_sparsity": 0.6,
                "steps": 30,
                "lr": 1e-4 if adapted else 1e-3,
                "batch_size": 32,
            },
            "finetune": {
                "weights": "current",
                **self._recipe(effort, effort.epochs[1], 1e-4 if adapted else 5e-4, warm=False),
            },
            "search": {
                "arm": list(effort.arms),
                "sparsity": ["auto"],
                "patch_drop": list(effort.drops),
                "mask_data_fraction": list(effort.fractions),
                "seed": list(range(effort.seeds)),
            },
            "resources": _resources(wish.gpu),
        }

    def _data(self, effort: Effort) -> dict[str, Any]:
        found = dict(self.wish.data.settings)
        if found["name"] not in ("digits", "cifar10"):  # those are small, and held as they are
            found["size"] = effort.pixels
        train, validation, test = self._split(effort)
        parts = {"validation": validation, "train_images": train, "test_images": test}
        there = (self.counts.validation, self.counts.train, self.counts.test)
        wanted = zip(parts.items(), there, strict=True)
        return found | {name: count for (name, count), whole in wanted if count != whole}

    def _split(self, effort: Effort) -> tuple[int, int, int]:
        """Images to train, to select on and to report on."""
        there = self.counts
        if effort.images is None:
            return there.train, there.validation, there.test
        looked_at = max(200, effort.images)
        return effort.images, min(there.validation, looked_at), min(there.test, 2 * looked_at)

    def _model(self, effort: Effort) -> dict[str, Any]:
        kwargs = self._kwargs(effort.pixels)
        found: dict[str, Any] = {"name": self.wish.model, "pretrained": self.wish.weights}
        return found | ({"kwargs": kwargs} if kwargs else {})

    def _kwargs(self, pixels: int) -> dict[str, Any]:
        found = {} if pixels == self.made_for else {"img_size": pixels}
        if self.wish.weights is False and pixels < ENOUGH * self.patch:
            fitting = [p for p in PATCHES if p < self.patch and pixels % p == 0]
            better = [p for p in fitting if pixels >= ENOUGH * p]
            enough = better or [p for p in fitting if pixels >= FEWEST * p]
            found |= {"patch_size": enough[0] if better else enough[-1]} if enough else {}
        return found

    def _recipe(
        self, effort: Effort, epochs: int, lr: float, *, warm: bool = True
    ) -> dict[str, Any]:
        train, _, _ = self._split(effort)
        batch = next(size for size in (64, 32, 16, 8) if size == 8 or train >= 20 * size)
        steps = epochs * math.ceil(train / batch)
        found: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch}
        found |= {"weight_decay": 0.05, "no_decay": "timm"}
        if warm:
            found |= {"warmup_steps": min(100, steps // 10), "label_smoothing": 0.1}
        return found | ({"precision": "bfloat16"} if self.wish.gpu else {})

    def _tickets(self) -> dict[str, Any]:
        return {"weights": "adapted"} if self.wish.weights is False else {}

    def _tolerance(self, effort: Effort) -> float:
        """What so many test images, each seen by every seed's model, can tell apart."""
        *_, test = self._split(effort)
        return 0.01 if test >= 5000 else 0.02 if test >= 1000 else 0.03

    def _sides(self) -> tuple[int, ...]:
        """Pixels a side that the model takes, the best first."""
        pixels = self.wish.data.pixels
        if self.wish.weights is False and pixels is not None and pixels < self.made_for:
            wanted = [pixels, *(side for side in SIDES if side < pixels)]
            found = [side for side in wanted if self._takes(side)]
        else:
            rounded = [max(FEWEST, round(s / self.patch)) * self.patch for s in SIDES]
            wanted = [self.made_for, *(side for side in rounded if side < self.made_for)]
            found = [side for side in dict.fromkeys(wanted) if self._takes(side)]
        return tuple(found) or (self.made_for,)

    def _takes(self, pixels: int) -> bool:
        """Whether the model can be built for such images, with patches enough."""
        try:
            model = self._capability(self._kwargs(pixels))
        except ModelError:
            return False
        return model.grid[0] >= FEWEST and model.image[0] == pixels

    def _capability(self, kwargs: dict[str, Any]) -> Capability:
        known = {"num_classes": self.counts.classes, "in_chans": self.counts.channels}
        return capability_of(self.wish.model, known | kwargs)

    def _predict(self, effort: Effort) -> Forecast:
        sweep = SweepConfig.model_validate(self.raw(effort))
        counts = Counts(*self._split(effort), self.counts.classes, self.counts.channels)
        found = known_sources(counts, *self.weights)
        return forecast(plan(sweep, find=lambda data, model: found), self.entries)


def _resources(gpu: bool) -> dict[str, int]:
    """What a trial occupies."""
    return {"cpu": min(4, math.ceil(usable_cores())), "gpu": 1} if gpu else {"cpu": 1}
