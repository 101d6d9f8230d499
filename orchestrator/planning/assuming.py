"""A plan before data and weights are on disk: from what is known of them, and saying so."""

from pathlib import Path

from trials.data import datasets
from trials.data.config import DataConfig
from trials.data.datasets import Counts, Dataset
from trials.data.known import known
from trials.errors import AbsentError, DataAbsentError, WeightsAbsentError
from trials.graph.sources import Opened, Sources, identity_of, open_sources, place_of
from trials.model.vit import ModelConfig
from trials.stage import Source


class Assuming:
    """Finds data and weights for a `Planner`; what is not there is assumed.

    Attributes:
        said: what was assumed, a sentence each.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self._datasets: dict[DataConfig, Dataset] = {}

    def __call__(self, data: DataConfig, model: ModelConfig) -> Opened | Sources:
        """What is there or, where something is absent, what is known of it.

        Raises:
            DataAbsentError: the data set is not there, and nothing is known of its size.
            DataError, ModelError: what is there cannot be used.
        """
        data = data.model_copy(update={"download": False})  # a plan fetches nothing
        try:
            return open_sources(data, model, self._read(data))
        except AbsentError:
            counts = self._counts(data)
            return known_sources(counts, *self._weights(model, counts.classes))

    def _read(self, data: DataConfig) -> Dataset:
        """A data set, once whatever the models."""
        if data not in self._datasets:
            self._datasets[data] = datasets.load(data)
        return self._datasets[data]

    def _counts(self, data: DataConfig) -> Counts:
        try:
            return Counts.of(self._read(data))
        except DataAbsentError:
            counts = known(data)
            if counts is None:
                raise
        name = data.dataset or data.name
        self._say(
            f"{name} is not {_place(data.root)}: planned for its published size, "
            f"{counts.train:,} train, {counts.validation:,} validation and {counts.test:,} test "
            f"images in {counts.classes} classes"
        )
        return counts

    def _weights(self, model: ModelConfig, classes: int) -> tuple[Source | None, bool]:
        try:
            return identity_of(model, place_of(model), classes)
        except WeightsAbsentError:
            self._say(
                f"model.pretrained = {model.pretrained} is not there: planned for weights that "
                "fit, with a fresh head"
            )
            return Source("weights", str(model.pretrained)), True

    def _say(self, text: str) -> None:
        if text not in self.said:
            self.said.append(text)


def known_sources(counts: Counts, weights: Source | None, fresh: bool) -> Sources:
    """Sources for the plan of a data set of these sizes, which is not read.

    The keys that are built on it are no stored result's.

    Args:
        weights, fresh: as `identity_of` says.
    """
    return Sources(Source("data", str(counts)), weights, fresh, counts)


def _place(root: Path | None) -> str:
    return "here yet" if root is None else f"in {root} yet"
