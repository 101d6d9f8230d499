"""The weights that timm has of a model: what names them, and where it takes them from."""

from __future__ import annotations

import dataclasses

from trials.errors import ModelError
from trials.model import answers
from trials.model.vit import is_of_timm, refuse_unknown


def identity(name: str) -> str:
    """What names timm's weights of a model: tag, repository and file, not the download.

    Raises:
        ModelError: timm has no weights of it, or no such tag.
    """
    found: str = answers.kept(["weights", name], lambda: _identity(name), lambda: is_of_timm(name))
    return found


def _identity(name: str) -> str:
    import timm

    if not timm.is_model(name):
        return name
    refuse_unknown(name)
    found = timm.models.get_pretrained_cfg(name)
    if found is None or not found.has_weights:
        raise ModelError(
            f"model.pretrained = true, but timm {timm.__version__} has no weights of {name}; "
            "name a safetensors file, or write false"
        )
    fields = dataclasses.asdict(found)
    return "|".join(str(fields.get(k)) for k in ("architecture", "tag", "url", "hf_hub_id", "file"))


def weights_source(name: str) -> tuple[str, str, tuple[str, ...]]:
    """Where timm takes its weights of a model from.

    Returns:
        `hub`, a repository (`@` its revision) and the files that are looked for, the first one
        first; or `url` and an address; or another kind and its name.

    Raises:
        ModelError: timm has no weights of it.
    """
    # Not part of timm's interface, but what it does itself: a copy of it could differ.
    import timm
    from timm.models import _builder, _hub

    identity(name)  # says what is wrong
    kind, place = _builder._resolve_pretrained_source(
        timm.models.get_pretrained_cfg(name).to_dict()
    )
    if kind != "hf-hub":
        return kind, str(place), ()
    place, file = (place, _hub.HF_WEIGHTS_NAME) if isinstance(place, str) else place
    return "hub", place, (*_hub._get_safe_alternatives(file), file)
