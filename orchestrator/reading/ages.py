"""Results of several versions of a package in one sweep: counted, never mixed in silence."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from orchestrator.tracking.tracker import Child
from orchestrator.versions import of_words
from orchestrator.vocabulary import Tag

UNKNOWN = "not recorded"

Counts = dict[str, dict[str, int]]
"""Package -> version -> finished trials that have results of it."""


def counts(table: pd.DataFrame) -> Counts:
    """Of the trials of a sweep; a trial with results of two versions counts under both at once."""
    finished = table[table["status"] == "FINISHED"]
    texts = Counter(text if isinstance(text, str) else "" for text in finished["versions"])
    known = [(of_words(text), number) for text, number in texts.items()]
    found: Counts = {}
    for name in sorted({name for versions, _ in known for name in versions}):
        counted: Counter[str] = Counter()
        for versions, number in known:
            counted[versions.get(name, UNKNOWN)] += number
        found[name] = dict(sorted(counted.items()))
    return found


def warning(found: Counts) -> list[str]:
    """A sentence, if results of several versions stand beside each other."""
    mixed = {name: _said(one) for name, one in found.items() if _versions(one) > 1}
    if not mixed:
        return []
    listed = "; ".join(f"{name} {said}" for name, said in mixed.items())
    return [
        f"Trials of different package versions are compared: {listed}. `trials.csv` has the "
        "versions of each trial."
    ]


def facts(found: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """What the report says of packages, where there is more to say than one version."""
    return {name: _said(one) for name, one in found.items() if len(one) > 1}


def _versions(one: Mapping[str, int]) -> int:
    return len({part for text in one if text != UNKNOWN for part in text.split(" and ")})


def _said(one: Mapping[str, int]) -> str:
    return ", ".join(
        f"{version} ({number} trial{'s' * (number != 1)})" for version, number in one.items()
    )


def changes(children: Iterable[Child], wanted: Collection[str], now: Mapping[str, str]) -> str:
    """What has been upgraded since a sweep's finished runs were computed; empty when nothing has.

    Args:
        wanted: keys of the trials and shared stages that the sweep has.
        now: the versions that will compute the rest.
    """
    found: dict[str, dict[str, Counter[str]]] = {}
    for child in children:
        if child.status != "FINISHED" or child.key not in wanted:
            continue
        for name, version in _known(child.tags).items():
            for one in set(version.split(" and ")) - {now.get(name, version)}:
                kinds = found.setdefault(name, {}).setdefault(one, Counter())
                kinds[child.kind] += 1
    return "; ".join(
        f"{name} from {one} to {now[name]} ({_of_kinds(kinds)})"
        for name, versions in sorted(found.items())
        for one, kinds in sorted(versions.items())
    )


def _known(tags: Mapping[str, Any]) -> dict[str, str]:
    """Runs of earlier versions of this package say no more than its own."""
    if text := tags.get(Tag.MADE_WITH):
        return of_words(text)
    own = tags.get(Tag.VERSION)
    return {"lotus-sweep": own} if own and tags.get(Tag.CACHED) != "true" else {}


def _of_kinds(kinds: Mapping[str, int]) -> str:
    names = {"trial": "finished trial", "stage": "shared stage"}
    parts = [
        f"{kinds[kind]} {name}{'s' * (kinds[kind] != 1)}"
        for kind, name in names.items()
        if kinds.get(kind)
    ]
    return " and ".join(parts)
