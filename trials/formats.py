"""Files that leave the project: keep-masks, tickets, checkpoints. All safetensors, never pickle.

A keep-mask takes one bit a weight: `numpy.packbits(..., bitorder="little")` of the mask in C
order. The formats are a promise to other tools (docs/formats.md).

Each file carries `sha256` in its header, a digest of everything else in it (`digest_of`). It is
verified when it is there: files of other programs have none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from trials.errors import FormatError
from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

MASK_FORMAT = "lotus-keepmask-v1"
TICKET_FORMAT = "lotus-tickets-v1"

DIGEST = "sha256"
TICKET_HEADER = ("format", "patches", "split", "patch_drop", "data_digest")
HEADERS = {MASK_FORMAT: ("format", "shapes"), TICKET_FORMAT: TICKET_HEADER}
"""What each format has in its header, beside the digest."""

MAX_HEADER_BYTES = 16 * 2**20
"""Of a header that is parsed here. safetensors itself refuses one over 100 MB."""

MAX_WEIGHTS = 2**40
"""In one mask; a greater shape is damage, and must not be multiplied out."""

KINDS = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
"""safetensors' name of a type -> torch's and numpy's, where numpy has it."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A tensor as it stands in a safetensors file: for whoever moves it and does not compute.

    Attributes:
        kind: safetensors' name of its type.
    """

    kind: str
    shape: tuple[int, ...]
    data: bytes


def raw_tensors(content: bytes) -> dict[str, Raw]:
    """The tensors of a safetensors file in memory, without torch.

    Raises:
        FormatError: damaged.
    """
    from safetensors import deserialize

    try:
        return {
            name: Raw(one["dtype"], tuple(one["shape"]), bytes(one["data"]))
            for name, one in deserialize(content)  # type: ignore[no-untyped-call]
        }
    except SafetensorError as error:
        raise FormatError(f"cannot be read as safetensors ({error})") from None


def save_raw(tensors: Mapping[str, Raw], path: Path, header: Mapping[str, str]) -> None:
    """What `save_checkpoint` writes of the same tensors; their types must be among `KINDS`."""
    from safetensors.numpy import save_file

    kinds = {name: f"torch.{KINDS[one.kind]}" for name, one in tensors.items()}
    shapes = {name: list(one.shape) for name, one in tensors.items()}
    content = {name: np.frombuffer(one.data, np.uint8) for name, one in tensors.items()}
    whole = {**header, DIGEST: _digest(header, kinds, shapes, content)}
    arrays = {
        name: np.frombuffer(one.data, KINDS[one.kind]).reshape(one.shape)
        for name, one in tensors.items()
    }
    save_file(arrays, path, metadata=whole)


PackedMask = dict[str, tuple[NDArray[np.uint8], int]]
"""Parameter name -> bits of the keep-mask (8 weights a byte, little bit order), and how many."""


def header_of(content: bytes) -> dict[str, str]:
    """The text header of a safetensors file in memory, within `MAX_HEADER_BYTES`.

    Raises:
        FormatError: none there, or damaged.
    """
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(len(content) - 8, MAX_HEADER_BYTES):
        raise FormatError(f"its header cannot have {length} bytes")
    try:
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        if all(isinstance(one, str) for pair in header.items() for one in pair):
            return dict(header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"its header cannot be read ({error!r})") from None
    raise FormatError("its header holds something else than text")


def digest_of(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """sha256 of all header entries but the digest, and of all tensors: name, type, shape, bytes.

    The order of names does not matter: safetensors has its own.
    """
    kinds = {name: str(tensor.dtype) for name, tensor in tensors.items()}
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    content = {
        name: tensor.contiguous().view(-1).view(torch.uint8).numpy()
        for name, tensor in tensors.items()
    }
    return _digest(header, kinds, shapes, content)


def _digest(
    header: Mapping[str, str],
    kinds: Mapping[str, str],
    shapes: Mapping[str, list[int]],
    content: Mapping[str, NDArray[np.uint8]],
) -> str:
    """The same from what tensors are made of, types by torch's names."""
    known = {name: [kind, shapes[name]] for name, kind in kinds.items()}
    texts = {name: text for name, text in header.items() if name != DIGEST}
    found = hashlib.sha256(json.dumps([texts, known], sort_keys=True).encode())
    for name in sorted(content):
        found.update(content[name].data)
    return found.hexdigest()


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
    _save({name: pack(keep) for name, keep in mask.items()}, path, header)


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
    header, packed = _read_bits(path, MASK_FORMAT)
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
    _save({"keep": rows}, path, header)


def load_tickets(path: Path) -> tuple[Tensor, dict[str, str]]:
    """Read a ticket file: bool (images, patches) and what its format has in the header.

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
    known = {name: text for name, text in header.items() if name in TICKET_HEADER}
    return torch.from_numpy(keep.astype(bool)), known


def save_checkpoint(state: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write weights under timm's own parameter names."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    _save(tensors, path, header)


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        FormatError: not a safetensors file, or damaged. A `.pt` or `.bin` file is a pickle, which
            can run code when it is read: convert it with `safetensors.torch.save_file` first.
    """
    return load_with_header(path)[1]


def load_with_header(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read weights and what stands in their header. Errors: as `load_checkpoint`."""
    return _read(path, None)


def _save(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write tensors and header, with the digest of both."""
    from safetensors.torch import save_file

    whole = {**header, DIGEST: digest_of(header, tensors)}
    save_file(dict(tensors), path, metadata=whole)


def _read(path: Path, expected: str | None) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read as safetensors ({error})") from None
    return _checked(path, expected, header, lambda: digest_of(header, tensors)), tensors


def _read_bits(path: Path, expected: str) -> tuple[dict[str, str], dict[str, NDArray[np.uint8]]]:
    """Like `_read`, of a file that holds bytes only, without torch."""
    from safetensors.numpy import load_file

    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            names = file.keys()
            kinds = {name: file.get_slice(name).get_dtype() for name in names}
        if odd := sorted(name for name, kind in kinds.items() if kind != "U8"):
            raise FormatError(f"{path}: {odd[0]} is of type {kinds[odd[0]]}, not of bytes")
        content = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read as safetensors ({error})") from None
    shapes = {name: list(bits.shape) for name, bits in content.items()}
    same = dict.fromkeys(content, "torch.uint8")
    digest = partial(_digest, header, same, shapes, content)
    return _checked(path, expected, header, digest), content


def _checked(
    path: Path, expected: str | None, header: dict[str, str], digest: Callable[[], str]
) -> dict[str, str]:
    """The header without its digest.

    Raises:
        FormatError: another format, or another content than the digest's.
    """
    if expected and header.get("format") != expected:
        raise FormatError(f"{path}: format is {header.get('format')!r}, expected {expected!r}")
    odd = header.keys() - set(HEADERS.get(expected or "", header))
    if DIGEST not in header and odd:
        raise FormatError(f"{path}: has no digest, and {sorted(odd)} is no entry of {expected!r}")
    if DIGEST in header and header[DIGEST] != digest():
        raise FormatError(f"{path}: is damaged, its content does not have the digest in its header")
    return {name: text for name, text in header.items() if name != DIGEST}


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
