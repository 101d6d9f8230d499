"""Results of several package versions in one sweep: counted, never mixed silently."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from orchestrator.tracking.tracker import Child
from orchestrator.versions import of_words
from orchestrator.vocabulary import Tag

UNKNOWN = "not recorded"

Counts = dict[str, dict[str, int]]
"""Package -> version -> number of finished trials with results of it."""


def counts(table: pd.DataFrame) -> Counts:
    """Count a sweep's trials; one with results of two versions counts under `A and B`."""
    finished = table[table["status"] == "FINISHED"]
    texts = Counter(text if isinstance(text, str) else "" for text in finished["versions"])
    versions_and_numbers = [(of_words(text), number) for text, number in texts.items()]
    counts_by_package: Counts = {}
    for package in sorted(
        {package for versions, _ in versions_and_numbers for package in versions}
    ):
        counted: Counter[str] = Counter()
        for versions, number in versions_and_numbers:
            counted[versions.get(package, UNKNOWN)] += number
        counts_by_package[package] = dict(sorted(counted.items()))
    return counts_by_package


def warning(version_counts: Counts) -> list[str]:
    """A sentence, if results of several versions are compared."""
    mixed = {
        package: _in_words(numbers)
        for package, numbers in version_counts.items()
        if _versions(numbers) > 1
    }
    if not mixed:
        return []
    listed = "; ".join(f"{package} {versions}" for package, versions in mixed.items())
    return [
        f"Trials of different package versions are compared: {listed}. `trials.csv` has the "
        "versions of each trial."
    ]


def facts(version_counts: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """What the report says about packages with more than one version."""
    return {
        package: _in_words(numbers)
        for package, numbers in version_counts.items()
        if len(numbers) > 1
    }


def _versions(numbers: Mapping[str, int]) -> int:
    return len({part for text in numbers if text != UNKNOWN for part in text.split(" and ")})


def _in_words(numbers: Mapping[str, int]) -> str:
    return ", ".join(
        f"{version} ({number} trial{'s' * (number != 1)})" for version, number in numbers.items()
    )


def changes(children: Iterable[Child], wanted: Collection[str], now: Mapping[str, str]) -> str:
    """What was upgraded since a sweep's finished runs were computed; empty if nothing was.

    Args:
        wanted: keys of the sweep's trials and shared stages.
        now: the versions that will compute the rest.
    """
    changed: dict[str, dict[str, Counter[str]]] = {}
    for child in children:
        if child.status != "FINISHED" or child.key not in wanted:
            continue
        for package, version in _versions_of_run(child.tags).items():
            for old in set(version.split(" and ")) - {now.get(package, version)}:
                kinds = changed.setdefault(package, {}).setdefault(old, Counter())
                kinds[child.kind] += 1
    return "; ".join(
        f"{package} from {old} to {now[package]} ({_of_kinds(kinds)})"
        for package, versions in sorted(changed.items())
        for old, kinds in sorted(versions.items())
    )


def _versions_of_run(tags: Mapping[str, Any]) -> dict[str, str]:
    """The versions of a run; earlier versions of this package only recorded their own."""
    if text := tags.get(Tag.MADE_WITH):
        return of_words(text)
    version = tags.get(Tag.VERSION)
    return {"lotus-sweep": version} if version and tags.get(Tag.CACHED) != "true" else {}


def _of_kinds(kinds: Mapping[str, int]) -> str:
    nouns = {"trial": "finished trial", "stage": "shared stage"}
    parts = [
        f"{kinds[kind]} {noun}{'s' * (kinds[kind] != 1)}"
        for kind, noun in nouns.items()
        if kinds.get(kind)
    ]
    return " and ".join(parts)
