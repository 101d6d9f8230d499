"""A checkpoint of a training program as plain weights: `lotus import`.

A `.pth` file is a pickle, which can run code when it is read. It is read by
`torch.load(weights_only=True)` alone, which knows tensors, numbers, text and containers and refuses
everything else.
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials.errors import ModelError
from trials.lazy import torch
from trials.model.weights import ANCHOR, shortened, trimmed

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = (
    "state_dict_ema", "model_ema", "ema", "teacher", "target_encoder",
    "state_dict", "model_state_dict", "model", "module", "net", "encoder", "student",
)  # fmt: skip
"""Where training programs put their weights: averages and teachers before what was trained."""

DEEPEST = 6
"""Wrappers within wrappers."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a checkpoint holds.

    Attributes:
        state: the weights that were taken, names without what stood before them.
        inside: the wrappers that they were in, outermost first.
        prefix: what was taken off their names.
        left: everything else, as names.
    """

    state: dict[str, Tensor]
    inside: tuple[str, ...]
    prefix: str
    left: tuple[str, ...]

    @property
    def weights(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.numel() for tensor in self.state.values())

    @property
    def words(self) -> str:
        """Where the weights were and what was left, a line each."""
        place = ".".join(self.inside) or "the file itself"
        off = f", {self.prefix} taken off their names" if self.prefix else ""
        taken = f"{len(self.state)} tensors, {self.weights:,} weights, of {place}{off}"
        left = ", ".join(shortened(self.left, 8)) or "nothing"
        return f"Took      {taken}\nLeft      {left}"


def unpack(path: Path, prefix: str | None = None) -> Unpacked:
    """The weights in a pickled checkpoint, without running anything in it.

    Args:
        prefix: of the names that are wanted, such as `backbone.`; None = what stands before the
            only patch embedding.

    Raises:
        ModelError: it cannot be read without running code, or no weights are found.
    """
    whole = _read(path)
    inside, found = _innermost(whole)
    tensors = {name: one for name, one in found.items() if isinstance(one, torch.Tensor)}
    if not tensors:
        known = ", ".join(map(str, list(whole)[:6])) or "nothing"
        raise ModelError(f"{path}: no weights are found in it; it holds {known}")
    if prefix is None:
        prefix = _prefix(path, tensors)
    state = trimmed(tensors, prefix)
    if not state:
        raise ModelError(
            f"{path}: no name begins with {prefix}; some are {', '.join(list(tensors)[:3])}"
        )
    if odd := [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise ModelError(f"{path}: {odd[0]} holds values that are not finite: take another file")
    plain = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    left = [name for name in found if name not in tensors or not str(name).startswith(prefix)]
    return Unpacked(plain, inside, prefix, tuple(map(str, [*_beside(whole, inside), *left])))


def _read(path: Path) -> Mapping[Any, Any]:
    """The objects in a file: tensors and plain values only."""
    _known_kind(path)
    try:
        # Programs put their arguments there: names and values, and no code.
        with (
            torch.serialization.safe_globals([argparse.Namespace]),
            warnings.catch_warnings(action="ignore"),
        ):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged file fails in as many ways as there are
        if needed := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ModelError(
                f"{path} is refused: to read it would run code of its own ({needed[1]}). Where you "
                "trust it, save its `state_dict()` alone with torch.save and import that"
            ) from None
        reason = (str(error) or repr(error)).splitlines()[0][:150]
        raise ModelError(f"{path} is no checkpoint of torch, or damaged ({reason})") from None
    if not isinstance(found, Mapping):
        raise ModelError(f"{path} holds a {type(found).__name__}, not weights by name")
    return found


def _known_kind(path: Path) -> None:
    """Refuse what is something else, by its name or its first bytes."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder: name the checkpoint in it")
    if path.suffix == ".safetensors":
        raise ModelError(f"{path} is a safetensors file already: name it in model.pretrained")
    if path.suffix in (".npz", ".npy"):
        raise ModelError(
            f"{path} holds JAX arrays, whose names and shapes are not timm's: take the file that "
            "timm's hub has of the model"
        )
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ModelError(f"{path} is empty")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            raise ModelError(
                f"{path} is a TorchScript program: save the `state_dict()` of the model that it "
                "was made from with torch.save"
            )


def _innermost(whole: Mapping[Any, Any]) -> tuple[tuple[str, ...], Mapping[Any, Any]]:
    """The wrappers around the weights, and the mapping that holds them."""
    inside: list[str] = []
    current = whole
    while len(inside) < DEEPEST:
        if any(isinstance(one, torch.Tensor) and one.ndim for one in current.values()):
            break
        inner = next((name for name in WRAPPERS if isinstance(current.get(name), Mapping)), None)
        if inner is None:
            break
        inside.append(inner)
        current = current[inner]
    return tuple(inside), current


def _prefix(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """What stands before the names of the only vision transformer in there."""
    found = [name.removesuffix(ANCHOR) for name in tensors if str(name).endswith(ANCHOR)]
    if len(found) > 1:
        raise ModelError(
            f"{path} holds {len(found)} models: name one with --prefix, of {', '.join(found[:4])}"
        )
    return found[0] if found else _common(list(tensors))


def _common(names: Sequence[str]) -> str:
    """What data-parallel and compiled modules put before every name."""
    for one in ("module.", "_orig_mod."):
        if all(name.startswith(one) for name in names):
            return one + _common([name.removeprefix(one) for name in names])
    return ""


def _beside(whole: Mapping[Any, Any], inside: Sequence[str]) -> Iterator[str]:
    """What stands beside each wrapper that was opened."""
    current, before = whole, ""
    for name in inside:
        yield from (f"{before}{other}" for other in current if other != name)
        current, before = current[name], f"{before}{name}."
