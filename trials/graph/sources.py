"""What a trial reads from outside, the data set and a weights file, known by content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Counts, Dataset
from trials.errors import ModelError, WeightsAbsentError
from trials.model import hub
from trials.model.vit import ModelConfig
from trials.stage import Source


@dataclass(frozen=True, slots=True)
class Sources:
    """The digests that a trial's keys are built on.

    Attributes:
        weights: a file's sha256, or what names timm's download; None for random weights.
        fresh_head: whether any weight of the model is drawn at random.
    """

    data: Source
    weights: Source | None
    fresh_head: bool
    counts: Counts


@dataclass(frozen=True, slots=True)
class Opened:
    """Sources and the objects behind them."""

    sources: Sources
    dataset: Dataset
    weights: Path | None

    def objects(self) -> dict[Source, object]:
        """What a stage gets for each source."""
        found: dict[Source, object] = {self.sources.data: self.dataset}
        if self.sources.weights is not None:
            found[self.sources.weights] = self.weights
        return found


def open_sources(
    data_cfg: DataConfig, model: ModelConfig, dataset: Dataset | None = None
) -> Opened:
    """Read the data set, and the header and digest of the weights.

    Args:
        dataset: where it has been read before.

    Raises:
        DataError: the data set is absent or damaged.
        ModelError: the weights file cannot be read.
    """
    dataset = data.load(data_cfg) if dataset is None else dataset
    path = model.pretrained if isinstance(model.pretrained, Path) else None
    weights, fresh = weights_of(model, dataset.classes)
    identity = Source("data", dataset.digest)
    return Opened(Sources(identity, weights, fresh, Counts.of(dataset)), dataset, path)


def weights_of(model: ModelConfig, classes: int) -> tuple[Source | None, bool]:
    """The identity of a model's weights, and whether any weight is drawn at random.

    Args:
        classes: of the data set.

    Raises:
        WeightsAbsentError: the weights file is not there.
        ModelError: it cannot be read, or timm has none of that name.
    """
    if isinstance(model.pretrained, Path):
        classes = int(model.kwargs.get("num_classes", classes))
        digest = Source("weights", _sha256(model.pretrained))
        return digest, _head_classes(model.pretrained) != classes
    if model.pretrained is True:
        return Source("weights", hub.identity(model.name)), True
    return None, True


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise WeightsAbsentError(
            f"model.pretrained = {path} cannot be read: {error.strerror}"
        ) from None
    except OSError as error:
        raise ModelError(f"model.pretrained = {path} cannot be read: {error.strerror}") from None


def _head_classes(path: Path) -> int | None:
    try:
        with safe_open(path, framework="np") as file:
            if "head.bias" not in file.keys():  # noqa: SIM118 - not a dict
                return None
            return int(file.get_slice("head.bias").get_shape()[0])
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"model.pretrained = {path} is not a safetensors file ({error}). A .pt or .bin file "
            "is a pickle, which can run code: convert it with safetensors.torch.save_file first."
        ) from None
