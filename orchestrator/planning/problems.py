"""Every problem of a sweep file at once, each with what, where and what to do."""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.visible import one_line
from trials.errors import LotusError

Path = tuple[str | int, ...]


Place = tuple[str | int, ...]
"""Where in a sweep file: names and positions."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a sweep file."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}{self.message}" if self.path else self.message


class SweepError(LotusError):
    """A sweep file that cannot be used, with all of its problems."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source, self.problems = source, tuple(problems)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        lines = [f"{source}: {count}", *(f"  {problem}" for problem in problems)]
        super().__init__("\n".join(map(one_line, lines)))


def dotted(path: Path) -> str:
    """`search.sparsity.1`."""
    return ".".join(str(part) for part in path)


def from_pydantic(error: ValidationError, raw: Any, root: type[BaseModel]) -> list[Problem]:
    """pydantic's errors in our words, each place once."""
    found: dict[Path, Problem] = {}
    for one in error.errors(include_url=False):
        path, value, there = _locate(one["loc"], raw)
        if one["type"] == "too_short" and value:
            continue  # only short of the entries that are wrong themselves
        message = _message(one, path, root)
        shown = f" = {_shorten(value)}" if there and not isinstance(value, dict | list) else ""
        found.setdefault(path, Problem(path, f"{shown}: {message}"))
    return list(found.values())


def _locate(loc: Path, raw: Any) -> tuple[Path, Any, bool]:
    """The part of pydantic's location that the user wrote, and the value there.

    pydantic puts the names of union members between; they are in no file.
    """
    path: list[str | int] = []
    value, there = raw, True
    for i, part in enumerate(loc):
        if _holds(value, part):
            value = value[part]
        elif isinstance(value, dict) and i in (0, len(loc) - 1):  # a missing section or key
            value, there = {}, False
        else:
            continue
        path.append(part)
    return tuple(path), value, there


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _message(one: Any, path: Path, root: type[BaseModel]) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + suggest(str(path[-1]), known_names(root, path[:-1]))
    if kind == "missing":
        return "is missing"
    if kind in ("less_than", "less_than_equal", "greater_than", "greater_than_equal"):
        return _bound(kind, context, path, one["input"])
    if kind in ("literal_error", "enum"):
        expected = context["expected"].replace("'", "")
        near = difflib.get_close_matches(str(one["input"]), re.split(", | or ", expected), n=1)
        return f"must be {expected}" + (f"; did you mean `{near[0]}`?" if near else "")
    if kind.startswith("value_error"):
        return str(context.get("error", one["msg"]))
    words = {
        "float_parsing": "must be a number",
        "float_type": "must be a number",
        "int_parsing": "must be a whole number",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "bool_parsing": "must be true or false",
        "bool_type": "must be true or false",
        "string_type": "must be text",
        "list_type": "must be a list, written [a, b]",
        "tuple_type": "must be a list, written [a, b]",
        "dict_type": "must be a mapping of keys to values",
        "model_type": "must be a mapping of keys to values",
        "model_attributes_type": "must be a mapping of keys to values",
        "string_pattern_mismatch": "must start with a letter or digit and hold only letters, "
        "digits, spaces and . _ + - (120 at most)",
        "finite_number": "must be a finite number",
        "too_short": "must not be empty",
    }
    text = str(one["msg"])
    return words.get(kind, text[0].lower() + text[1:])


def _bound(kind: str, context: dict[str, Any], path: Path, value: Any) -> str:
    word = {"less_than": "below", "less_than_equal": "at most", "greater_than": "above"}
    limit = next(iter(context.values()))
    text = f"must be {word.get(kind, 'at least')} {limit:g}"
    if "mask_data_fraction" in path and kind.startswith("greater"):
        return (
            "must be at least 0.1: a denoised mask from less than 10 % of the data is outside of "
            "what Instant-Soup pruning was made for (its first round trains on 10 %)"
        )
    is_share = isinstance(value, int | float) and 1 <= value <= 100
    if kind.startswith("less") and limit == 1 and is_share:
        return f"{text} (a fraction: write {value / 100:g} for {value:g} %)"
    return text


def suggest(wrong: str, names: Sequence[str]) -> str:
    """`; did you mean ...?` when a name is near, the names otherwise."""
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known here: {', '.join(names)}" if 0 < len(names) <= 14 else ""


def known_names(root: type[BaseModel], path: Path) -> list[str]:
    """The keys that the model at `path` knows."""
    models: list[type[BaseModel]] = [root]
    for part in path:
        if isinstance(part, int):
            continue
        hints = [
            model.model_fields[part].annotation for model in models if part in model.model_fields
        ]
        models = [model for hint in hints for model in _models(hint)]
    return [
        name for model in models for name, field in model.model_fields.items() if not field.exclude
    ]


def _models(hint: Any) -> Iterator[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    elif typing.get_origin(hint) in (typing.Union, types.UnionType, list, tuple):
        for one in typing.get_args(hint):
            yield from _models(one)


def _shorten(value: Any) -> str:
    text = one_line(str(value))
    return text if len(text) <= 60 else text[:57] + "..."
