"""The weights of a file in a timm model: what is taken, what stays random, and what does not fit.

Nothing here draws: a tensor that the file does not have keeps the value that the model was built
with. Names are timm's, or what timm itself converts (CLIP, DINOv2, DINOv3 and others).
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trials.errors import ModelError
from trials.formats import load_checkpoint
from trials.model.families import Module
from trials.model.misfits import advice

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]

ANCHOR = "patch_embed.proj.weight"
"""Every supported model has it, so it tells what stands before the names of a file."""

BESIDE = (
    "head", "fc.", "classifier.", "pre_logits.", "decoder", "mask_token", "lm_head",
    "projector", "projection_head.", "predictor",
)  # fmt: skip
"""How names begin of what pretraining leaves beside the backbone: it is left out."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a file's tensors.

    Attributes:
        fresh: tensors of the model that the file does not have: they stay random.
        left: tensors of the file that the model does not take.
        resized: tensors whose values timm computed for another grid or other channels.
    """

    fresh: tuple[str, ...]
    left: tuple[str, ...]
    resized: tuple[str, ...]

    @property
    def words(self) -> str:
        """The same for people; empty where the file was taken as it is."""
        parts = [("fresh", self.fresh), ("left out", self.left), ("resampled", self.resized)]
        return "; ".join(f"{what}: {', '.join(shortened(names))}" for what, names in parts if names)


def shortened(names: Iterable[str], most: int = 4) -> list[str]:
    """The modules of tensors, `head` for `head.weight` and `head.bias`."""
    found = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return found[:most] + ([f"{len(found) - most} more"] if len(found) > most else [])


def load(model: Module, path: Path) -> Loaded:
    """Put the weights of a file into a model, through timm's own conversion where they differ.

    Positions and patch embeddings are resampled to another grid, the patch embedding is adapted
    to other channels. If any head has another number of classes, all heads stay as they are.

    Args:
        model: of timm; on the meta device it is only checked whether the file fits.

    Raises:
        FormatError: not a safetensors file, or damaged.
        ModelError: something does not fit; says what to write instead.
    """
    whole = load_checkpoint(path)
    prefix, own, heads = prefix_of(whole), model.state_dict(), classifiers(model)
    state = trimmed(whole, prefix)
    found = _with_fitting_heads(state, own, heads)
    if problems := _misfits(found, own, heads):
        try:
            found = _with_fitting_heads(_converted(model, state), own, heads)
        except Exception as error:  # timm's conversions fail in as many ways as there are
            reason = f"timm cannot convert it: {(str(error) or repr(error)).splitlines()[0][:120]}"
            raise _refusal(path, model, problems, state, reason) from None
    taken = {n: t for n, t in found.items() if n in own or not n.startswith(BESIDE)}
    if problems := _misfits(taken, own, heads):
        raise _refusal(path, model, problems, state)
    with warnings.catch_warnings(action="ignore"):  # of copies to the meta device
        model.load_state_dict({name: taken.get(name, tensor) for name, tensor in own.items()})
    beside = [name for name in state if name.startswith(BESIDE) and name not in taken]
    return Loaded(
        fresh=tuple(name for name in own if name not in taken),
        left=tuple(beside + [name for name in whole if not name.startswith(prefix)]),
        resized=tuple(n for n, t in taken.items() if n in state and state[n].shape != t.shape),
    )


def classifiers(model: Module) -> tuple[str, ...]:
    """Names of its heads: `head`, and `head_dist` of a distilled model."""
    named = (model.pretrained_cfg or {}).get("classifier") or "head"
    heads = {named} if isinstance(named, str) else set(named)
    heads |= {"head_dist"} if hasattr(model, "head_dist") else set()
    return tuple(sorted(heads))


def prefix_of(state: Mapping[str, Tensor]) -> str:
    """What a training program put before the names of the only model in there; may be empty."""
    found = [name.removesuffix(ANCHOR) for name in state if name.endswith(ANCHOR)]
    return found[0] if len(found) == 1 else ""


def trimmed(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors whose names begin so, without it."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def _with_fitting_heads(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], heads: Sequence[str]
) -> State:
    """Without any head, unless the file has all of them in the model's shapes."""
    wanted = [name for name in own if name.split(".")[0] in heads]
    if all(name in state and state[name].shape == own[name].shape for name in wanted):
        return dict(state)
    return {n: t for n, t in state.items() if n.split(".")[0] not in heads}


def _misfits(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], heads: Sequence[str]
) -> list[str]:
    """Each tensor that the file lacks, has too many, or has in another shape, in words."""
    found = [f"lacks {n}" for n in own if n not in state and n.split(".")[0] not in heads]
    found += [f"has {n}, which the model has not" for n in state if n not in own]
    found += [
        f"{n} is {tuple(state[n].shape)}, the model's is {tuple(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    return sorted(found)


def _refusal(
    path: Path, model: Module, problems: Sequence[str], state: Mapping[str, Tensor], why: str = ""
) -> ModelError:
    shown = "; ".join(problems[:4]) + (f"; {len(problems) - 4} more" if len(problems) > 4 else "")
    said = f"{why}; " if why else ""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return ModelError(
        f"model.pretrained = {path}: {len(problems)} tensors do not fit ({said}{shown}). "
        f"{advice(shapes, model)}"
    )


def _converted(model: Module, state: Mapping[str, Tensor]) -> State:
    """What timm makes of a file before it loads it."""
    from timm.models import adapt_input_conv

    # timm prints and warns of what it tries.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        found: State = dict(_filter_of(model)(dict(state), model))
    conv, wanted = found.get(ANCHOR), model.patch_embed.proj.weight
    if conv is not None and conv.ndim == 4 and conv.shape[1] != wanted.shape[1]:
        found[ANCHOR] = adapt_input_conv(wanted.shape[1], conv, base_chans=conv.shape[1])
    return found


def _filter_of(model: Module) -> Callable[[State, Module], State]:
    """timm's conversion for the family of a model; none where it has none."""
    from timm.models import vision_transformer

    for kind in type(model).__mro__:
        found = getattr(sys.modules[kind.__module__], "checkpoint_filter_fn", None)
        if found is vision_transformer.checkpoint_filter_fn:
            return partial(found, adapt_layer_scale=True)
        if found is not None:
            conversion: Callable[[State, Module], State] = found
            return conversion
    return lambda state, _: state
