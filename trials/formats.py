"""Files that leave the project: keep-masks, tickets, checkpoints. All safetensors, never pickle.

A keep-mask takes one bit a weight: `numpy.packbits(..., bitorder="little")` of the mask in C
order. The formats are a promise to other tools (docs/formats.md).

How they are written and verified: `trials/container.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trials import container
from trials.container import DIGEST
from trials.errors import FormatError
from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

MASK_FORMAT = "lotus-keepmask-v1"
TICKET_FORMAT = "lotus-tickets-v1"

TICKET_HEADER = ("format", "patches", "split", "patch_drop", "data_digest")
HEADERS = {MASK_FORMAT: ("format", "shapes"), TICKET_FORMAT: TICKET_HEADER}
"""What each format has in its header, beside the digest."""

MAX_WEIGHTS = 2**40
"""In one mask; a greater shape is damage, and must not be multiplied out."""

PackedMask = dict[str, tuple[NDArray[np.uint8], int]]
"""Parameter name -> bits of the keep-mask (8 weights a byte, little bit order), and how many."""


def pack(keep: Tensor) -> Tensor:
    """Bool tensor of any shape -> uint8 (ceil(n/8),), C order, little bit order."""
    flat = keep.detach().cpu().contiguous().view(-1).numpy()
    return torch.from_numpy(np.packbits(flat, bitorder="little"))


def unpack(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `pack`.

    Raises:
        FormatError: the number of bytes does not fit the shape.
    """
    count = _count(shape)
    if count is None or bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
        raise FormatError(f"{bits.numel()} bytes cannot hold a mask of shape {_short(shape)}")
    flat = np.unpackbits(bits.numpy(), bitorder="little", count=count)
    return torch.from_numpy(flat.astype(bool)).view(shape)


def save_mask(mask: Mapping[str, Tensor], path: Path) -> None:
    """Write a keep-mask file."""
    shapes = {name: list(keep.shape) for name, keep in mask.items()}
    header = {"format": MASK_FORMAT, "shapes": json.dumps(shapes)}
    container.save({name: pack(keep) for name, keep in mask.items()}, path, header)


def load_mask(path: Path) -> dict[str, Tensor]:
    """Read a keep-mask file.

    Raises:
        FormatError: not a safetensors file, another format, or damaged.
    """
    shapes, packed = _read_mask(path)
    try:
        return {
            name: unpack(torch.from_numpy(packed[name]), shape) for name, shape in shapes.items()
        }
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def load_packed_mask(path: Path) -> PackedMask:
    """Read a keep-mask file without unpacking it: an eighth of the memory of `load_mask`, and
    without torch.

    Returns:
        Parameter name -> uint8 (ceil(n / 8),) and n; the bits after the n-th are 0.

    Raises:
        FormatError: not a safetensors file, another format, or damaged.
    """
    shapes, packed = _read_mask(path)
    found: PackedMask = {}
    for name, shape in shapes.items():
        count, bits = _count(shape), packed[name]
        if count is None or bits.shape != (-(-count // 8),):
            size = bits.size
            raise FormatError(f"{path}: {size} bytes cannot hold a mask of shape {_short(shape)}")
        if count % 8:  # another program may have left something in the last byte
            bits[-1] &= (1 << count % 8) - 1
        found[name] = bits, count
    return found


def _read_mask(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[np.uint8]]]:
    """Shapes and packed bits by name; the two name the same tensors."""
    header, packed = container.read_bytes(path, _of_format(MASK_FORMAT, path))
    try:
        shapes = {name: tuple(int(n) for n in shape) for name, shape in _json(header["shapes"])}
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise FormatError(f"{path}: the header names no usable shapes ({error})") from None
    if shapes.keys() != packed.keys():
        raise FormatError(f"{path}: header and content name different tensors")
    return shapes, packed


def save_tickets(
    keep_NP: Tensor, path: Path, *, split: str, patch_drop: float, data_digest: str
) -> None:
    """Write a ticket file: `keep` uint8 (images, ceil(patches / 8)), one row an image.

    Args:
        keep_NP: bool, images x patches; True = the patch is kept.
    """
    rows = torch.from_numpy(np.packbits(keep_NP.cpu().numpy(), axis=1, bitorder="little"))
    header = {
        "format": TICKET_FORMAT,
        "patches": str(keep_NP.shape[1]),
        "split": split,
        "patch_drop": repr(patch_drop),
        "data_digest": data_digest,
    }
    container.save({"keep": rows}, path, header)


def load_tickets(path: Path) -> tuple[Tensor, dict[str, str]]:
    """Read a ticket file: bool (images, patches) and what its format has in the header.

    Raises:
        FormatError: not a safetensors file, another format, or damaged.
    """
    header, tensors = container.read(path, _of_format(TICKET_FORMAT, path))
    try:
        patches, rows = int(header["patches"]), tensors["keep"]
    except (KeyError, ValueError) as error:
        raise FormatError(f"{path}: the header lacks {error}") from None
    fits = rows.ndim == 2 and patches > 0 and rows.shape[1] == -(-patches // 8)
    if rows.dtype != torch.uint8 or not fits:
        raise FormatError(f"{path}: {tuple(rows.shape)} bytes cannot hold {patches} patches")
    keep = np.unpackbits(rows.numpy(), axis=1, bitorder="little", count=patches)
    known = {name: text for name, text in header.items() if name in TICKET_HEADER}
    return torch.from_numpy(keep.astype(bool)), known


def save_checkpoint(state: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write weights under timm's own parameter names."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    container.save(tensors, path, header)


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        FormatError: not a safetensors file, or damaged. A `.pt` or `.bin` file is a pickle, which
            can run code when it is read: convert it with `safetensors.torch.save_file` first.
    """
    return load_with_header(path)[1]


def load_with_header(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read weights and what stands in their header. Errors: as `load_checkpoint`."""
    return container.read(path)


def _of_format(expected: str, path: Path) -> container.Check:
    """Refuses a header of another format, or one with more in it that no digest covers."""

    def check(header: Mapping[str, str]) -> None:
        if header.get("format") != expected:
            raise FormatError(f"{path}: format is {header.get('format')!r}, expected {expected!r}")
        odd = header.keys() - set(HEADERS[expected])
        if DIGEST not in header and odd:
            raise FormatError(
                f"{path}: has no digest, and {sorted(odd)} is no entry of {expected!r}"
            )

    return check


def _count(shape: tuple[int, ...]) -> int | None:
    """Weights of a tensor; None for a shape that no mask has."""
    if len(shape) > 16 or not all(0 <= side <= MAX_WEIGHTS for side in shape):
        return None
    count = math.prod(shape)
    return count if count <= MAX_WEIGHTS else None


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else text[:57] + "..."


def _json(text: str) -> list[tuple[str, list[int]]]:
    return list(json.loads(text).items())
