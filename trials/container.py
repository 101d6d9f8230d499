"""A safetensors file with a text header and, in it, a digest of everything else in the file.

The digest is verified when it is there: files of other programs have none.
"""

from __future__ import annotations

import hashlib
import json
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

DIGEST = "sha256"

MAX_HEADER_BYTES = 16 * 2**20
"""Of a header that is parsed here. safetensors itself refuses one over 100 MB."""

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


def save(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write tensors and header, with the digest of both."""
    from safetensors.torch import save_file

    whole = {**header, DIGEST: digest_of(header, tensors)}
    save_file(dict(tensors), path, metadata=whole)


Check = Callable[[Mapping[str, str]], None]
"""Looks at a header before the digest is computed; raises `FormatError`."""


def read(path: Path, check: Check | None = None) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header without its digest, and the tensors.

    Raises:
        FormatError: not a safetensors file, refused by `check`, or damaged.
    """
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read as safetensors ({error})") from None
    return _verified(path, header, check, lambda: digest_of(header, tensors)), tensors


def read_bytes(
    path: Path, check: Check | None = None
) -> tuple[dict[str, str], dict[str, NDArray[np.uint8]]]:
    """Like `read`, of a file that holds bytes only, without torch."""
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
    return _verified(path, header, check, digest), content


def _verified(
    path: Path, header: dict[str, str], check: Check | None, digest: Callable[[], str]
) -> dict[str, str]:
    """The header without its digest."""
    if check is not None:
        check(header)
    if DIGEST in header and header[DIGEST] != digest():
        raise FormatError(f"{path}: is damaged, its content does not have the digest in its header")
    return {name: text for name, text in header.items() if name != DIGEST}
