"""Files that leave the project: keep-masks, tickets, checkpoints. All safetensors, never pickle.

A keep-mask takes one bit a weight: `numpy.packbits(..., bitorder="little")` of the mask in C
order. The formats are a promise to other tools (README, "File formats").
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from trials.errors import FormatError
from trials.masks import KeepMask

MASK_FORMAT = "lotus-keepmask-v1"
TICKET_FORMAT = "lotus-tickets-v1"

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
    count = int(np.prod(shape, dtype=np.int64))
    if bits.dtype != torch.uint8 or bits.numel() != -(-count // 8):
        raise FormatError(f"{bits.numel()} bytes cannot hold a mask of shape {shape}")
    flat = np.unpackbits(bits.numpy(), bitorder="little", count=count)
    return torch.from_numpy(flat.astype(bool)).view(shape)


def save_mask(mask: KeepMask, path: Path) -> None:
    """Write a keep-mask file."""
    shapes = {name: list(keep.shape) for name, keep in mask.items()}
    header = {"format": MASK_FORMAT, "shapes": json.dumps(shapes)}
    save_file({name: pack(keep) for name, keep in mask.items()}, path, metadata=header)


def load_mask(path: Path) -> KeepMask:
    """Read a keep-mask file.

    Raises:
        FormatError: not a safetensors file, another format, or damaged.
    """
    shapes, tensors = _read_mask(path)
    try:
        return {name: unpack(tensors[name], shape) for name, shape in shapes.items()}
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def load_packed_mask(path: Path) -> PackedMask:
    """Read a keep-mask file without unpacking it: an eighth of the memory of `load_mask`.

    Returns:
        Parameter name -> uint8 (ceil(n / 8),) and n; the bits after the n-th are 0.

    Raises:
        FormatError: not a safetensors file, another format, or damaged.
    """
    shapes, tensors = _read_mask(path)
    found: PackedMask = {}
    for name, shape in shapes.items():
        count, bits = int(np.prod(shape, dtype=np.int64)), tensors[name].numpy().copy()
        if bits.dtype != np.uint8 or bits.shape != (-(-count // 8),):
            raise FormatError(f"{path}: {bits.size} bytes cannot hold a mask of shape {shape}")
        if count % 8:  # another program may have left something in the last byte
            bits[-1] &= (1 << count % 8) - 1
        found[name] = bits, count
    return found


def _read_mask(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Tensor]]:
    """Shapes and packed bits by name; the two name the same tensors."""
    header, tensors = _read(path, MASK_FORMAT)
    try:
        shapes = {name: tuple(int(n) for n in shape) for name, shape in _json(header["shapes"])}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatError(f"{path}: the header names no usable shapes ({error})") from None
    if shapes.keys() != tensors.keys():
        raise FormatError(f"{path}: header and content name different tensors")
    return shapes, tensors


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
    save_file({"keep": rows}, path, metadata=header)


def load_tickets(path: Path) -> tuple[Tensor, dict[str, str]]:
    """Read a ticket file: bool (images, patches) and its header.

    Raises:
        FormatError: not a safetensors file, another format, or damaged.
    """
    header, tensors = _read(path, TICKET_FORMAT)
    try:
        patches, rows = int(header["patches"]), tensors["keep"]
    except (KeyError, ValueError) as error:
        raise FormatError(f"{path}: the header lacks {error}") from None
    fits = rows.ndim == 2 and patches > 0 and rows.shape[1] == -(-patches // 8)
    if rows.dtype != torch.uint8 or not fits:
        raise FormatError(f"{path}: {tuple(rows.shape)} bytes cannot hold {patches} patches")
    keep = np.unpackbits(rows.numpy(), axis=1, bitorder="little", count=patches)
    return torch.from_numpy(keep.astype(bool)), header


def save_checkpoint(state: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write weights under timm's own parameter names."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    save_file(tensors, path, metadata=dict(header))


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        FormatError: not a safetensors file. A `.pt` or `.bin` file is a pickle, which can run
            code when it is read: convert it with `safetensors.torch.save_file` first.
    """
    return _read(path, None)[1]


def _read(path: Path, expected: str | None) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read as safetensors ({error})") from None
    if expected and header.get("format") != expected:
        raise FormatError(f"{path}: format is {header.get('format')!r}, expected {expected!r}")
    return header, tensors


def _json(text: str) -> list[tuple[str, list[int]]]:
    return list(json.loads(text).items())
