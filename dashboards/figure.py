"""What a figure of the report is: its data, its drawing, its caption and its file, in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from matplotlib.axes import Axes

from dashboards import style

Data = TypeVar("Data")

Place = Literal[
    "essential",
    "finetune",
    "issp",
    "diagnosis",
    "overlap",
    "arms",
    "pareto",
    "halving",
    "cost",
]
"""Where the page shows figures; several of one place stand in the order of their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A finished figure: a PNG, and text for who cannot see it."""

    name: str
    place: Place
    caption: str
    alt: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Generic[Data]):
    """One figure of the report; a module of `dashboards/figures/` has it as `FIGURE`.

    Attributes:
        name: of its file under `figures/`, without extension.
        place: where it stands on the page.
        caption: stands below it.
        data: what it draws, out of the summary; None = there is nothing to draw.
        draw: draws that, inside `style.drawing_rules`: the axes, and in words what they show.
    """

    name: str
    place: Place
    caption: str
    data: Callable[[dict[str, Any]], Data | None]
    draw: Callable[[Data], tuple[Axes, str]]

    def drawing(self, summary: dict[str, Any]) -> Drawing | None:
        """The figure of a summary; None where that has nothing to draw."""
        found = self.data(summary)
        if found is None:
            return None
        axes, alt = self.draw(found)
        png = style.to_png(axes)
        return Drawing(name=self.name, place=self.place, caption=self.caption, alt=alt, png=png)
