"""The figures of a report: every module of this folder has one as `FIGURE`.

A new figure is a new module here. If it needs a new entry in summary.json, add a row to `SERIES` in
`orchestrator/selection/series.py`.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from dashboards.figure import Drawing, Figure

FIGURES: tuple[Figure[Any], ...] = tuple(
    import_module(f"{__name__}.{name}").FIGURE
    for name in sorted(module.name for module in iter_modules(__path__))
)


def drawn(summary: dict[str, Any]) -> list[Drawing]:
    """The figures that have data."""
    drawings = [figure.drawing(summary) for figure in FIGURES]
    return [drawing for drawing in drawings if drawing is not None]
