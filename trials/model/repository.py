"""Model folders, on disk and on the Hugging Face hub: what their `config.json` says, their weights.

A folder is what timm writes (`save_for_hf`, `lotus export`): `config.json` with `architecture`, and
`model.safetensors`. Nothing pickled is read. What the cache has is taken from the cache, and nobody
is asked whether it is the newest: a revision behind an `@` names one for good.
"""

from __future__ import annotations

import hashlib
import json
import os.path
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials.errors import ModelError
from trials.model.reach import ANSWER_S, mebibytes, within

if TYPE_CHECKING:
    from trials.model.vit import ModelConfig

HUB, LOCAL = "hf-hub:", "local-dir:"
CONFIG = "config.json"
FILES = ("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""Weights, the first one that is there; as timm looks for them."""

PICKLES = ("pytorch_model.bin", "pytorch_model.pth", "model.pth", "open_clip_pytorch_model.bin")
OF_THE_DATA = {"num_classes", "in_chans"}
"""Arguments in `config.json` that the data decides here."""

REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Remote:
    """One file of a repository, in one revision: the same for everybody who asks.

    Attributes:
        path: where it lies in the cache of the machine that looked; None = not there.
        digest: its sha256, as the hub names it; of a small file git's own digest.
        size: in bytes; None = not known.
    """

    repository: str
    revision: str
    file: str
    digest: str
    path: Path | None = None
    size: int | None = None

    def local(self) -> Path:
        """The file on this machine, fetched where it is not there.

        Raises:
            ModelError: it cannot be fetched.
        """
        import huggingface_hub as hub

        try:
            return Path(hub.hf_hub_download(self.repository, self.file, revision=self.revision))
        except Exception as error:  # of whatever library speaks HTTP there
            raise ModelError(
                f"model.pretrained = {HUB}{self.repository}@{self.revision[:12]}: {self.file} "
                f"cannot be fetched ({str(error).splitlines()[0][:200]}). Without a network, set "
                "HF_HOME to a filled cache or name a safetensors file"
            ) from None

    @property
    def words(self) -> str:
        """Where it is."""
        if self.path is not None:
            return f"in the cache, {self.path}"
        return f"will be fetched from the hub, {self.repository}{mebibytes(self.size)}"


def is_hub(place: object) -> bool:
    """Whether weights are named by a repository of the hub."""
    return isinstance(place, str) and place.startswith(HUB)


def resolved(model: ModelConfig) -> ModelConfig:
    """The section in plain settings: a folder's or repository's name replaced by what it says.

    `name: local-dir:FOLDER` or `hf-hub:ORG/NAME` gives timm's name and the arguments, and the
    weights where `pretrained` is true. mean and std come from the folder of the weights, too,
    unless they are written. Plain sections come back as they are; again = the same.

    Raises:
        ModelError: `config.json` cannot be had, or does not describe a model of timm.
    """
    named = model.name.startswith((HUB, LOCAL))
    source: str | Path | None = None
    if named:
        hub = model.name.startswith(HUB)
        source = model.name if hub else Path(model.name.removeprefix(LOCAL)).expanduser().absolute()
    elif is_hub(model.pretrained) or (isinstance(model.pretrained, Path) and _folder(model)):
        source = model.pretrained  # type: ignore[assignment]
    if source is None:
        return model
    config = _config(source, needed=named)
    changes: dict[str, Any] = {}
    if named:
        arguments = {k: v for k, v in _arguments(config).items() if k not in OF_THE_DATA}
        changes = {"name": config["architecture"], "kwargs": arguments | model.kwargs}
        changes |= {"pretrained": source} if model.pretrained is True else {}
    if named or config.get("architecture") == model.name.partition(".")[0]:
        known = config.get("pretrained_cfg", config)
        for field in ("mean", "std"):
            if getattr(model, field) is None and field in known:
                changes[field] = known[field]
    try:
        return type(model).model_validate(model.model_dump() | changes) if changes else model
    except ValueError as error:
        first = str(error).splitlines()[2].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"{source}: its {CONFIG} cannot be used ({first[:200]})") from None


def _folder(model: ModelConfig) -> bool:
    return isinstance(model.pretrained, Path) and os.path.isdir(model.pretrained)


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    found = config.get("model_args") or {}
    return dict(found) if isinstance(found, dict) else {}


def _text(source: str | Path) -> str | None:
    """The text of `config.json`; None where there is none."""
    if isinstance(source, Path):
        try:
            return (source / CONFIG).read_text("utf-8")
        except FileNotFoundError:
            if not os.path.isdir(source):
                raise ModelError(f"{LOCAL}{source}: there is no such folder") from None
            return None
        except (OSError, ValueError) as error:
            raise ModelError(f"{source / CONFIG} cannot be read ({error})") from None
    return _hub_text(source)


def _config(source: str | Path, *, needed: bool) -> dict[str, Any]:
    """What a folder says of its model.

    Args:
        needed: whether it has to be there.
    """
    text = _text(source)
    if text is None and not needed:
        return {}
    where = f"{source}/{CONFIG}" if isinstance(source, Path) else f"{CONFIG} of {source}"
    if text is None:
        raise ModelError(
            f"{source} has no {CONFIG}, so nobody knows which model it is: write timm's name in "
            "model.name and the folder in model.pretrained"
        )
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} is not JSON ({error})") from None
    if isinstance(found, dict) and isinstance(found.get("architecture"), str):
        return found
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not needed and kind is None:
        return {}
    whose = f"of transformers (model_type {kind})" if kind else "not of timm (no `architecture`)"
    raise ModelError(
        f"{where} is {whose}: take timm's own repository of the model, or a folder that timm wrote"
    )


def file_of(folder: Path) -> Path:
    """The weights of a folder.

    Raises:
        ModelError: there are none that can be read.
    """
    if found := next((folder / name for name in FILES if os.path.isfile(folder / name)), None):
        return found
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return others[0]
    if len(others) > 1:
        names = ", ".join(path.name for path in others[:3])
        raise ModelError(
            f"model.pretrained = {folder}: holds {len(others)} safetensors files ({names}), none "
            f"of them {FILES[0]}: name one, or join what was split"
        )
    pickled = sorted(
        path for end in ("bin", "pt", "pth", "tar") for path in folder.glob(f"*.{end}")
    )
    if pickled:
        raise ModelError(
            f"model.pretrained = {folder}: holds {pickled[0].name}, a pickle, which can run code: "
            f"convert it with `lotus import {pickled[0]}`"
        )
    raise ModelError(f"model.pretrained = {folder}: holds no safetensors file: name another folder")


def remote_of(place: str) -> Remote:
    """The weights that a repository has: in the cache, or as the hub describes them.

    Args:
        place: `hf-hub:ORG/NAME`, with `@REVISION` or without.

    Raises:
        ModelError: there are none, or neither cache nor hub can be asked.
    """
    import huggingface_hub as hub
    from huggingface_hub import constants

    repository, revision = _split(place)
    for file in FILES:
        cached = hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            path = Path(cached)
            return Remote(repository, path.parent.name, file, _digest(path), path)
    absent = f"model.pretrained = {place}: not in the cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{absent}, and HF_HUB_OFFLINE forbids to fetch it; name a file")

    def look(file: str) -> Any:
        url = hub.hf_hub_url(repository, file, revision=revision)
        try:
            return hub.get_hf_file_metadata(url, timeout=ANSWER_S)
        except hub.errors.EntryNotFoundError:
            return None

    def ask() -> Remote | str:
        for file in FILES:
            if (seen := look(file)) is not None:
                commit = str(seen.commit_hash)
                return Remote(repository, commit, file, str(seen.etag), None, seen.size)
        return next((file for file in PICKLES if look(file) is not None), "")

    found = within(ask, f"{absent}, and the hub {constants.ENDPOINT} cannot be reached")
    if isinstance(found, Remote):
        return found
    if found:
        raise ModelError(
            f"model.pretrained = {place}: has only {found}, a pickle, which can run code: fetch it "
            "and convert it with `lotus import`"
        )
    raise ModelError(f"model.pretrained = {place}: the repository has no {FILES[0]}")


def _split(place: str) -> tuple[str, str | None]:
    name = place.removeprefix(HUB)
    if not REPOSITORY.fullmatch(name):
        raise ModelError(
            f"{place}: a repository is written {HUB}ORG/NAME or {HUB}ORG/NAME@REVISION"
        )
    repository, _, revision = name.partition("@")
    return repository, revision or None


def _digest(path: Path) -> str:
    """As the hub names the file: the name of its blob in the cache, else of its content."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return blob.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _hub_text(place: str) -> str | None:
    import huggingface_hub as hub
    from huggingface_hub import constants

    repository, revision = _split(place)
    absent = f"{place}: its {CONFIG} is not in the cache {constants.HF_HUB_CACHE}"

    def read() -> str | None:
        try:
            path = hub.hf_hub_download(repository, CONFIG, revision=revision, etag_timeout=ANSWER_S)
        except hub.errors.EntryNotFoundError:
            return None
        return Path(path).read_text("utf-8")

    cached = hub.try_to_load_from_cache(repository, CONFIG, revision=revision)
    if isinstance(cached, str):
        return Path(cached).read_text("utf-8")
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{absent}, and HF_HUB_OFFLINE forbids to fetch it")
    return within(read, f"{absent}, and the hub {constants.ENDPOINT} cannot give it")
