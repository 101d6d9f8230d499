"""What a trial reads from outside, the data set and a weights file, known by content."""

import hashlib
import os.path
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Counts, Dataset
from trials.errors import ModelError, WeightsAbsentError
from trials.model import hub, repository
from trials.model.repository import Remote
from trials.model.vit import ModelConfig
from trials.stage import Source


@dataclass(frozen=True, slots=True)
class Sources:
    """The digests that a trial's keys are built on.

    Attributes:
        weights: a file's sha256, also of one on the hub, or what names timm's download; None for
            random weights.
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
    weights: Path | Remote | None

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
        model: in plain settings: see `trials.model.repository.resolved`.
        dataset: where it has been read before.

    Raises:
        DataError: the data set is absent or damaged.
        ModelError: the weights cannot be had. Whether they fit is for `trials.model.fit`.
    """
    dataset = data.load(data_cfg) if dataset is None else dataset
    place = place_of(model)
    weights, fresh = identity_of(model, place, dataset.classes)
    identity = Source("data", dataset.digest)
    return Opened(Sources(identity, weights, fresh, Counts.of(dataset)), dataset, place)


def place_of(model: ModelConfig) -> Path | Remote | None:
    """Where the file of a model's weights is; None where timm fetches it, or there is none.

    Raises:
        ModelError: a folder or a repository has no weights, or the hub cannot be asked.
    """
    if isinstance(model.pretrained, Path):
        folder = os.path.isdir(model.pretrained)  # not its method: a name may be too long
        return repository.file_of(model.pretrained) if folder else model.pretrained
    return repository.remote_of(model.pretrained) if isinstance(model.pretrained, str) else None


def identity_of(
    model: ModelConfig, place: Path | Remote | None, classes: int
) -> tuple[Source | None, bool]:
    """The identity of a model's weights, and whether any weight is drawn at random.

    Args:
        place: see `place_of`.
        classes: of the data set.

    Raises:
        WeightsAbsentError: the weights file is not there.
        ModelError: it cannot be read, or timm has none of that name.
    """
    classes = int(model.kwargs.get("num_classes", classes))
    if isinstance(place, Remote):
        fresh = place.path is None or _head_classes(place.path) != classes
        return Source("weights", place.digest), fresh
    if place is not None:
        return Source("weights", _sha256(place)), _head_classes(place) != classes
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
            f"model.pretrained = {path} is not a safetensors file ({error}). A .pt, .pth or .bin "
            f"file is a pickle, which can run code: convert it with `lotus import {path}`"
        ) from None
