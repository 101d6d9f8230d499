"""What a specification draws, for tests."""

from collections.abc import Iterator
from typing import Any

from dashboards.figure import Plot

Unit = tuple[dict[str, Any], list[dict[str, Any]]]
"""A view with one mark, and the rows that it draws."""


def units(plot: Plot) -> list[Unit]:
    """Every view of a plot that has a mark of its own, with its rows, in the order of drawing."""
    spec = plot.chart.to_dict()
    return list(_units(spec, {}, spec.get("datasets", {})))


def rows(plot: Plot, field: str) -> list[dict[str, Any]]:
    """The rows of all marks that have a field, each once."""
    found: list[dict[str, Any]] = []
    for _, here in units(plot):
        found += [row for row in here if field in row and row not in found]
    return found


def panels(plot: Plot) -> list[dict[str, Any]]:
    """The views that stand above or beside each other."""
    spec = plot.chart.to_dict()
    found: list[dict[str, Any]] = spec.get("vconcat") or spec.get("concat") or [spec]
    return found


def _units(view: dict[str, Any], data: dict[str, Any], sets: dict[str, Any]) -> Iterator[Unit]:
    data = view.get("data", data)
    if "mark" in view:
        yield view, data["values"] if "values" in data else sets[data["name"]]
    inside = [view["spec"]] if "spec" in view else []
    for key in ("layer", "vconcat", "hconcat", "concat"):
        inside += view.get(key, [])
    for one in inside:
        yield from _units(one, data, sets)
