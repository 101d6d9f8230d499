"""Where the images of a part lie, and how batches of them come to a device."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from trials.data.decoded import Decoded

Array = NDArray[np.uint8]

MEMORY_SHARE = 0.2
"""Of this machine's memory, for the images of a data set."""

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container's limit stands."""

DEVICE_SHARE = 0.25
"""Of a GPU's free memory, for one part of a data set; what is larger stays with the host."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Some rows of an array that lies in a file, looked at when they are asked for.

    Attributes:
        whole: gives the array of all images, uint8 (all, C, H, W), mapped into memory.
        rows: int64 (N,), ascending.
        channels: of an image, known before there is an array.
    """

    whole: Decoded
    rows: NDArray[np.int64]
    channels: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | NDArray[np.int64]) -> Array:
        """A copy of some."""
        return np.take(self.whole(), self.rows[which], axis=0)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self.rows), *self.whole().shape[1:])

    @property
    def nbytes(self) -> int:
        """As an array in memory."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True)
class Split:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Array | Stored
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """Some of them."""
        images = self.images
        if isinstance(images, Stored):
            return Split(replace(images, rows=images.rows[rows]), self.labels[rows])
        return Split(images[rows], self.labels[rows])

    def in_memory(self) -> Split:
        """The same as an array."""
        images = self.images
        return Split(images[:], self.labels) if isinstance(images, Stored) else self


@dataclass(frozen=True, slots=True)
class HostImages:
    """Images that stay in the host's memory or file; each batch is copied to the device.

    Attributes:
        source: uint8 (N, C, H, W).
        device: where batches go.
    """

    source: Array | Stored
    device: torch.device

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return tuple(self.source.shape)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        """A batch on the device.

        Args:
            which: rows, int64 (B,) on the CPU, or a slice.
        """
        rows = which if isinstance(which, slice) else which.cpu().numpy()
        batch = torch.from_numpy(np.array(self.source[rows], copy=isinstance(which, slice)))
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)


def chosen(images: Tensor | HostImages, rows: Tensor) -> Tensor:
    """A batch on the device of the images.

    Args:
        rows: int64 (B,) on the CPU.
    """
    return images[rows] if isinstance(images, HostImages) else images[rows.to(images.device)]


def placed(images: Array | Stored, device: torch.device, limit_bytes: float) -> Tensor | HostImages:
    """A part's images, on the device as a whole where they fit there.

    On the CPU an array is not copied: the processes of a node share it, read-only. Nobody may
    write into what this gives.

    Args:
        limit_bytes: of the memory of this machine, for images that lie in a file.
    """
    if device.type == "cpu":
        if isinstance(images, Stored):
            fits = images.nbytes <= limit_bytes
            return shared(images[:]) if fits else HostImages(images, device)
        return shared(images)
    if images.nbytes > _room(device):
        return HostImages(images, device)
    return shared(images[:]).to(device)


def _room(device: torch.device) -> float:
    """Bytes of a device that one part may take."""
    if device.type != "cuda":
        return float("inf")
    free, _ = torch.cuda.mem_get_info(device)
    return free * DEVICE_SHARE


def shared(array: NDArray[np.generic]) -> Tensor:
    """A tensor on the same memory; torch warns of memory that cannot be written, as it must not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))


def memory_limit(gib: float | None) -> float:
    """Bytes that images may take of this machine's memory.

    Args:
        gib: as a sweep file says; None = a share of what there is, or of a container's limit.
    """
    if gib is not None:
        return gib * 2**30
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        text = Path(path).read_text("ascii").strip() if os.path.exists(path) else ""
        found += [int(text)] if text.isdecimal() else []
    return MEMORY_SHARE * min(found)
