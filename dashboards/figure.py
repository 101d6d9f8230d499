"""A figure of the report: its data, drawing, caption and file name in one place."""

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
"""Places for figures on the page; several at one place come in the order of their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A finished figure: a PNG, and an alternative text."""

    name: str
    place: Place
    caption: str
    alt: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Generic[Data]):
    """One figure of the report: `FIGURE` of a module in `dashboards/figures/`.

    Attributes:
        name: of its file in `figures/`, without extension.
        place: on the page.
        caption: the text below it.
        data: takes from the summary what is drawn; None = there is nothing to draw.
        draw: draws the data inside `style.drawing_rules`; returns the axes and a text on them.
    """

    name: str
    place: Place
    caption: str
    data: Callable[[dict[str, Any]], Data | None]
    draw: Callable[[Data], tuple[Axes, str]]

    def drawing(self, summary: dict[str, Any]) -> Drawing | None:
        """Draw the figure for a summary; None if there is nothing to draw."""
        data = self.data(summary)
        if data is None:
            return None
        axes, alt = self.draw(data)
        png = style.to_png(axes)
        return Drawing(name=self.name, place=self.place, caption=self.caption, alt=alt, png=png)
