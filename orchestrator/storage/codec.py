"""Typed stage results <-> bytes: one safetensors file with a JSON tree in its header. No pickle.

Bool tensors take one bit per element, as in keep-mask files.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from trials.container import Raw, header_of, raw_tensors
from trials.errors import FormatError
from trials.formats import pack, unpack
from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "lotus-result-v1"

R = TypeVar("R")


def encode(result: Any) -> bytes:
    """The bytes of a stage result: a dataclass of tensors, plain values, tuples and dicts.

    Raises:
        TypeError: the result holds something else.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    tree = _encode(result, tensors)
    # A single entry, because safetensors writes several in random order, and equal results must
    # have equal bytes to be stored once.
    return save(tensors, metadata={FORMAT: json.dumps(tree)})


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        if value.dtype == torch.bool:
            tensors[name] = pack(value)
            return {"bits": name, "shape": list(value.shape)}
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if dataclasses.is_dataclass(value):
        return {
            "fields": {
                field.name: _encode(getattr(value, field.name), tensors)
                for field in dataclasses.fields(value)
            }
        }
    if isinstance(value, tuple):
        return {"items": [_encode(item, tensors) for item in value]}
    if isinstance(value, dict):
        return {"map": {key: _encode(item, tensors) for key, item in value.items()}}
    if value is None or isinstance(value, bool | int | float | str | list):
        return {"value": value}
    raise TypeError(f"a stage result cannot hold a {type(value).__name__}")


def decode(content: bytes, kind: type[R]) -> R:
    """The inverse of `encode`.

    Args:
        kind: the dataclass that was encoded.

    Raises:
        FormatError: the bytes are damaged or were not made from that type.
    """
    from safetensors.torch import load

    return _decoded(content, kind, load)


def decode_raw(content: bytes, kind: type[R]) -> R:
    """The same without torch: `Raw` instead of tensors, masks as their bits."""
    return _decoded(content, kind, raw_tensors)


def _decoded(content: bytes, kind: type[R], load: Callable[[bytes], Mapping[str, Any]]) -> R:
    try:
        tree = json.loads(header_of(content)[FORMAT])
        result = _decode(tree, kind, load(content))
    except FormatError:
        raise
    except Exception as error:  # damaged bytes can fail in any way
        raise FormatError(f"not a stored {kind.__name__} ({error!r})") from None
    if not isinstance(result, kind):
        raise FormatError(f"not a stored {kind.__name__}")
    return result


def _decode(tree: dict[str, Any], hint: Any, tensors: Mapping[str, Any]) -> Any:
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "bits" in tree:
        bits = tensors[tree["bits"]]
        return bits if isinstance(bits, Raw) else unpack(bits, tuple(tree["shape"]))
    if "fields" in tree:
        kind: Any = next(option for option in _options(hint) if dataclasses.is_dataclass(option))
        raw = any(isinstance(tensor, Raw) for tensor in tensors.values())
        tensor_type = Raw if raw else torch.Tensor
        hints = typing.get_type_hints(kind, localns={"Tensor": tensor_type})  # see trials.lazy
        fields = tree["fields"].items()
        return kind(**{name: _decode(value, hints[name], tensors) for name, value in fields})
    if "items" in tree:
        item_hint = _argument(hint, tuple, 0)
        return tuple(_decode(item, item_hint, tensors) for item in tree["items"])
    if "map" in tree:
        item_hint = _argument(hint, dict, 1)
        return {key: _decode(item, item_hint, tensors) for key, item in tree["map"].items()}
    return tree["value"]


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _argument(hint: Any, container: type, position: int) -> Any:
    for option in _options(hint):
        if typing.get_origin(option) is container:
            return typing.get_args(option)[position]
    return Any
