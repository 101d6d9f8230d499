"""docs/sweep-file-keys.md: every key of the sweep file, made from its JSON Schema.

`lotus schema --markdown > docs/sweep-file-keys.md` writes it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.key_examples import EXAMPLES

Schema = Mapping[str, Any]

TOP = "The file itself"

HEAD = """\
# The sweep file, key by key

Made by `lotus schema --markdown`; do not edit. What the parts are for:
[the sweep file](sweep-file.md). What the methods do: [methods](methods.md).

Any key of the sections `data` to `finetune` can be an axis of `search` under its dotted name, such
as `issp.merge`. Where the default is `null` or depends on the machine, the last column says what
it means.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the sweep file.

    Attributes:
        path: dotted.
        values: what may stand there, in words.
        default: in YAML; None = the key must be given; "" = it depends on the machine.
        about: its description.
        example: a value, in YAML; "" = nobody has given one.
    """

    path: str
    values: str
    default: str | None
    about: str
    example: str

    @property
    def name(self) -> str:
        """Without its section."""
        return self.path.rpartition(".")[2]


def sections() -> dict[str, tuple[str, list[Key]]]:
    """Name of a section -> what it is about, and its keys."""
    schema = SweepConfig.model_json_schema()
    found: dict[str, tuple[str, list[Key]]] = {TOP: (schema["description"], [])}
    for name, entry in schema["properties"].items():
        inner = _section(entry, schema["$defs"])
        if inner is None:
            found[TOP][1].append(_key(name, entry, name in schema["required"]))
            continue
        required = inner.get("required", ())
        keys = [
            _key(f"{name}.{key}", one, key in required) for key, one in inner["properties"].items()
        ]
        found[name] = inner["description"], keys
    return found


def keys() -> Iterator[Key]:
    """All of them."""
    for _, listed in sections().values():
        yield from listed


def page() -> str:
    """The page in Markdown."""
    parts = [HEAD]
    for name, (about, listed) in sections().items():
        title = name if name == TOP else f"`{name}`"
        lines = [f"## {title}", "", about, "", "| Key | Values | Default | Example | What it is |"]
        lines += ["|---|---|---|---|---|", *map(_row, listed)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(key: Key) -> str:
    default = {None: "must be given", "": "–"}.get(key.default, f"`{key.default}`")
    cells = [f"`{key.name}`", key.values, default, f"`{key.name}: {key.example}`", key.about]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _section(entry: Schema, defs: Schema) -> Schema | None:
    """The schema of a section; None where the entry is a key."""
    for one in (entry, *entry.get("anyOf", ())):
        if "$ref" in one:
            inner: Schema = defs[one["$ref"].rpartition("/")[2]]
            return inner
    return None


def _key(path: str, entry: Schema, required: bool) -> Key:
    listed = entry["anyOf"][0] if "items" in entry.get("anyOf", ({},))[0] else entry
    default = listed.get("default")
    return Key(
        path=path,
        values=_values(entry),
        default=None if required else _yaml(default) if "default" in listed else "",
        about=entry.get("description", ""),
        example=EXAMPLES.get(path) or _example(entry, default),
    )


def _example(entry: Schema, default: Any) -> str:
    """A value that is not the default, where the type says one."""
    if entry.get("type") == "boolean":
        return _yaml(not default)
    allowed = [name for one in (entry, *entry.get("anyOf", ())) for name in one.get("enum", ())]
    return next((_yaml(name) for name in allowed if name != default), "")


def _values(entry: Schema) -> str:
    """What may stand there: `a, b`, `a number above 0`, `a list: ...`."""
    if "anyOf" in entry:
        several = [one for one in entry["anyOf"] if one.get("type") != "null"]
        if (items := several[0].get("items")) in several:  # a list of one needs no brackets
            several.remove(items)
        return " or ".join(dict.fromkeys(map(_values, several)))
    if named := entry.get("enum") or ([entry["const"]] if "const" in entry else []):
        return ", ".join(f"`{name}`" for name in named)
    if "$ref" in entry:
        return "a range: `{low, high}`, with `step` or `log: true`"
    if entry.get("type") == "array":
        if "prefixItems" in entry:
            return f"a list of {len(entry['prefixItems'])}"
        return f"a list: {_values(entry['items'])}"
    plain = {"boolean": "true or false", "string": "text", "object": "a mapping"}
    kind = str(entry.get("type"))
    return plain.get(kind) or f"a {'whole ' * (kind == 'integer')}number{_limits(entry)}"


def _limits(entry: Schema) -> str:
    words = {
        "minimum": "at least", "exclusiveMinimum": "above",
        "maximum": "at most", "exclusiveMaximum": "below",
    }  # fmt: skip
    said = [f"{word} {entry[name]:g}" for name, word in words.items() if name in entry]
    return f", {' and '.join(said)}" if said else ""


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()
