"""Sweep files: find, read, override, and every problem at once."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.planning.checks import check
from orchestrator.planning.config import Source, SweepConfig, nested
from orchestrator.planning.problems import Problem, SweepError, from_pydantic, suggest
from orchestrator.planning.sections import DEFAULT_TRACKING, TrackingSection
from orchestrator.secrets import without_password


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, value_node in node.value:
        merges = key_node.tag == "tag:yaml.org,2002:merge"
        if merges and isinstance(value_node, yaml.SequenceNode):
            raise yaml.constructor.ConstructorError(
                None, None, "`<<` takes one mapping here, not a list", key_node.start_mark
            )
        key = "<<" if merges else loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is not text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{key}` stands twice", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

MAX_FILE_BYTES = 1_000_000


def bundled() -> dict[str, Path]:
    """Sweeps that come with the package, by name."""
    folder = Path(__file__).parents[1] / "sweeps"
    return dict(sorted((path.stem, path) for path in folder.glob("*.yaml")))


def about(path: Path) -> str:
    """The first sentence of the comment at the top of a sweep file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    top = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("# ") for line in top)
    return re.split(r"(?<=[.?!])\s+(?=[A-Z`])", text, maxsplit=1)[0]


def load_sweep(path_or_name: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep file, or a bundled sweep by name.

    Args:
        path_or_name: `sweep.yaml`, or `digits`.
        overrides: `a.b=value`, the value in YAML.

    Raises:
        SweepError: with every problem of the file at once.
    """
    source, raw = written(path_or_name, overrides)
    try:
        sweep = SweepConfig.model_validate(raw)
    except ValidationError as error:
        found = from_pydantic(error, _as_written(raw), SweepConfig)
        if isinstance(raw.get("search"), dict):
            found = [replace(p, path=_without_block(p.path)) for p in found]
        raise SweepError(source, found) from None
    if problems := list(check(sweep, raw)):
        raise SweepError(source, problems)
    named = (raw.get("tracking") or {}).get("uri") is not None
    tracking = sweep.tracking if named else TrackingSection(uri=DEFAULT_TRACKING)
    sweep.asked_for(Source(str(path_or_name), tuple(overrides), tracking.uri))
    return sweep


def written(path_or_name: str | Path, overrides: Sequence[str] = ()) -> tuple[str, dict[str, Any]]:
    """What a sweep file says, overrides applied, before anything is checked or filled in.

    Returns:
        Its name for messages, and the mapping.
    """
    source, text = _read(path_or_name)
    raw = _parse(source, text)
    for override in overrides:
        raw = _override(source, raw, override)
    return source, raw


def _read(path_or_name: str | Path) -> tuple[str, str]:
    path = Path(path_or_name)
    if str(path_or_name) in bundled() and not path.exists():
        path = bundled()[str(path_or_name)]
    shown = str(path_or_name)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SweepError(shown, [Problem((), "is over 1 MB, too large for a sweep file")])
        return shown, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = suggest(shown, [*_beside(path), *bundled()])
        message = f"no such file, and no bundled sweep of that name{near}"
        raise SweepError(shown, [Problem((), message)]) from None
    except (OSError, ValueError) as error:
        raise SweepError(shown, [Problem((), f"cannot be read: {error}")]) from None


def _beside(path: Path) -> list[str]:
    """Sweep files in the folder where one was looked for, as they would be written."""
    try:
        return sorted(str(one) for one in path.parent.glob("*.y*ml"))
    except OSError:
        return []


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        message = f"{where}{error.problem or 'not YAML'}"
        raise SweepError(source, [Problem((), message)]) from None
    except Exception as error:  # PyYAML's own constructors fail in many ways: `!!int ''`
        raise SweepError(source, [Problem((), f"not YAML: {str(error)[:200]}")]) from None
    if not isinstance(raw, dict):
        kind = "empty" if raw is None else f"a {type(raw).__name__}"
        message = f"is {kind}; a sweep file is a mapping with name, data and model"
        raise SweepError(source, [Problem((), message)])
    return raw


def _override(source: str, raw: dict[str, Any], text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        message = "an override is written a.b=value, e.g. --set finetune.lr=1e-4"
        raise SweepError(f"--set {text}", [Problem((), message)])
    try:
        parsed = yaml.load(value, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except Exception:  # see `_parse`
        raise SweepError(f"--set {text}", [Problem((), "the value is not YAML")]) from None
    path = name.strip().split(".")
    if path[0] == "search" and len(path) > 2:  # search.issp.merge is the axis `issp.merge`
        path = ["search", ".".join(path[1:])]
    if path[0] == "search" and isinstance(raw.get("search"), list):
        message = "`search` is a list of blocks here; change them in the file"
        raise SweepError(f"--set {text}", [Problem((), message)])
    return nested(raw, path, parsed)


def _as_written(raw: dict[str, Any]) -> dict[str, Any]:
    """The raw mapping with a single search block as pydantic sees it: a list."""
    search = raw.get("search")
    return raw | {"search": [search]} if isinstance(search, dict) else raw


def _without_block(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """`search.0.seed` -> `search.seed`, where the file has one block and no list."""
    return ("search", *path[2:]) if path[:2] == ("search", 0) else path


def resolved_yaml(sweep: SweepConfig) -> str:
    """The sweep with every default written out, as a sweep file; passwords are left out.

    What is written wins over a preset, so where `issp.preset` is an axis only the `issp` settings
    that the file has are written: the others differ from trial to trial.
    """
    raw = sweep.model_dump(mode="json")
    varied = "issp.preset" in sweep.axes
    issp = sweep.issp if varied else sweep.issp.resolved()
    raw["issp"] = issp.model_dump(mode="json", exclude_unset=varied)
    raw["tracking"]["uri"] = without_password(raw["tracking"]["uri"])
    raw["storage"]["path"] = without_password(raw["storage"]["path"])
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
