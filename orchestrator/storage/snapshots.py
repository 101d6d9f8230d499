"""The saved state of an unfinished training, so that it can continue after a crash."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.storage.files import Files, StoreAway
from orchestrator.versions import versions
from trials.container import digest_of, header_of
from trials.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "lotus-unfinished-v1"

SHARE = 0.02
"""A training may spend at most this share of its time on saving its state."""

DECISIVE = ("lotus-sweep", "torch", "timm", "numpy")
"""With another version of these a training would not continue bit for bit."""

LARGE_BYTES = 2**20


@dataclass(slots=True)
class Pace:
    """How long saving takes, as measured by this process.

    It starts with guesses for a slow disk; each saving corrects them.

    Attributes:
        least_s: seconds for a small state.
        bytes_per_s: rate for a large state.
    """

    least_s: float = 0.005
    bytes_per_s: float = 100e6

    def expected_s(self, count: int) -> float:
        """Predicted seconds for saving `count` bytes."""
        return max(self.least_s, count / self.bytes_per_s)

    def learn(self, count: int, seconds: float) -> None:
        """Record how long saving `count` bytes took."""
        if count >= LARGE_BYTES:
            self.bytes_per_s = count / max(seconds, 1e-6)
        else:
            self.least_s = seconds


PACES: dict[str, Pace] = {}
"""By store, for the whole process, so that the first saving of a stage can be predicted too."""


@dataclass(slots=True)
class StoredSnapshots:
    """The last saved state of one training, in one file.

    Created when its stage starts: `SHARE` is counted from then on.
    """

    files: Files
    path: str
    _started: float = field(init=False)
    _spent: float = 0.0

    def __post_init__(self) -> None:
        self._started = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last saved state; None if there is none to continue from.

        A state that is damaged, or was saved by other versions, causes a warning and is ignored.
        """
        try:
            return _decode(self.files.read(self.path))
        except FileNotFoundError:
            return None
        except FormatError as error:
            warnings.warn(f"store: an unfinished training starts over ({error})", stacklevel=2)
            return None

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Save the state, unless saving would take more than `SHARE` of the time so far.

        Raises:
            StoreUnusable: the store is full or read-only, so the result could not be saved either.
        """
        pace = PACES.setdefault(self.files.url, Pace())
        count = sum(tensor.nbytes for tensor in tensors.values())
        now = time.monotonic()
        if self._spent + pace.expected_s(count) > SHARE * (now - self._started):
            return
        try:
            self.files.write(self.path, _encode(tensors, values))
        except StoreAway as error:  # the training needs the store only at its end
            warnings.warn(f"an unfinished training is not saved this time: {error}", stacklevel=2)
        seconds = time.monotonic() - now
        self._spent += seconds
        pace.learn(count, seconds)

    def clear(self) -> None:
        """Delete the saved state."""
        self.files.remove(self.path)


def _encode(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {FORMAT: json.dumps({"values": dict(values), "versions": _versions()})}
    return save(on_cpu, metadata=header | {"sha256": digest_of(header, on_cpu)})


def _decode(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors.torch import load

    header = header_of(content)
    try:
        tensors = load(content)
        if header.pop("sha256") != digest_of(header, tensors):
            raise FormatError("its content does not have the digest in its header")
        saved = json.loads(header[FORMAT])
        values, made_by = dict(saved["values"]), dict(saved["versions"])
    except FormatError:
        raise
    except Exception as error:  # damaged bytes can fail in any way
        raise FormatError(f"damaged: {error!r}") from None
    if made_by != _versions():
        odd = ", ".join(
            f"{package} {made_by.get(package)}, now {version}"
            for package, version in _versions().items()
            if made_by.get(package) != version
        )
        raise FormatError(f"other versions saved it, and it would not continue bit for bit: {odd}")
    return tensors, values


def _versions() -> dict[str, str]:
    return {package: versions()[package] for package in DECISIVE}
