"""Whether the weights of a file fit a model: asked before anything is spent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from trials.model import answers
from trials.model.vit import Arch, ModelConfig, build_empty, is_of_timm
from trials.model.weights import Loaded, load

KIND = "fit 1"
"""A higher number makes answers of an earlier version of this code worthless."""


def fits(cfg: ModelConfig, path: Path, digest: str, *, classes: int, channels: int) -> Loaded:
    """What a model would take of a file, without memory for the model.

    The answer is kept on disk (`answers`), so that a plan need not import timm again.

    Args:
        cfg: in plain settings.
        digest: of the file.
        classes: of the data set, as `channels`; `cfg.kwargs` may override both.

    Raises:
        FormatError: not a safetensors file, or damaged.
        ModelError: it does not fit, or timm cannot build the model.
    """
    kwargs = {"num_classes": classes, "in_chans": channels} | cfg.kwargs

    def ask() -> dict[str, Any]:
        found = load(build_empty(Arch(cfg.name, kwargs, (), ())), path)
        return {name: list(names) for name, names in dataclasses.asdict(found).items()}

    question = [KIND, cfg.name, kwargs, digest]
    found = answers.kept(question, ask, lambda: is_of_timm(cfg.name))
    return Loaded(**{name: tuple(names) for name, names in found.items()})
