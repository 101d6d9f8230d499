"""Whether timm's weights of a model can be had: from a cache, or from where they are fetched.

Nothing is downloaded, and nobody is waited for: a run finds out after a minute and a half.
"""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

from trials.errors import ModelError
from trials.lazy import torch
from trials.model.hub import weights_source
from trials.model.reach import ANSWER_S, REMEDY, mebibytes, within


def weights_at_hand(name: str) -> str:
    """Where the weights of a model are, or will come from.

    Raises:
        ModelError: they are not in the cache, and cannot be fetched now.
    """
    kind, place, files = weights_source(name)
    if kind == "hub":
        return _of_hub(name, place, files)
    if kind == "url":
        return _of_url(name, place)
    return f"{name}: {place}"


def _of_hub(name: str, place: str, files: tuple[str, ...]) -> str:
    import huggingface_hub as hub
    from huggingface_hub import constants

    repository, _, revision = place.partition("@")
    for file in files:
        found = hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return f"{name}: in the cache, {found}"
    absent = (
        f"model.pretrained: the weights of {name} are not in the cache {constants.HF_HUB_CACHE}"
    )
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{absent}, and HF_HUB_OFFLINE forbids to fetch them. {REMEDY}")

    def ask() -> int | None:
        for file in files[:-1]:
            try:
                return _size(file)
            except hub.errors.EntryNotFoundError:
                continue
        return _size(files[-1])

    def _size(file: str) -> int | None:
        url = hub.hf_hub_url(repository, file, revision=revision or None)
        size: int | None = hub.get_hf_file_metadata(url, timeout=ANSWER_S).size
        return size

    size = within(ask, f"{absent}, and the hub {constants.ENDPOINT} cannot be reached", ANSWER_S)
    return f"{name}: will be fetched from the hub, {repository}{mebibytes(size)}"


def _of_url(name: str, url: str) -> str:
    path = (
        Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url.split("?", maxsplit=1)[0])
    )
    if path.exists():
        return f"{name}: in the cache, {path}"
    absent = f"model.pretrained: the weights of {name} are not in the cache {path.parent}"

    def ask() -> int | None:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return int(answer.headers["Content-Length"] or 0) or None

    size = within(ask, f"{absent}, and {url} cannot be reached", ANSWER_S)
    return f"{name}: will be fetched from {url}{mebibytes(size)}"
