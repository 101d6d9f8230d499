"""A figure of the report: its data, drawing, caption and file name in one place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import altair as alt

from dashboards import style
from dashboards.vega import static

Data = TypeVar("Data")

Chart = (
    alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart
    | alt.ConcatChart
)  # fmt: skip

Place = Literal[
    "essential",
    "finetune",
    "issp",
    "diagnosis",
    "overlap",
    "arms",
    "pareto",
    "systems",
    "halving",
    "cost",
]
"""Places for figures on the page; several at one place come in the order of their names."""


@dataclass(frozen=True, slots=True)
class DataTable:
    """What a figure shows, as a table: for readers, and to download. Cells are text or numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> "DataTable":
        """The fields `columns` (field -> heading) of every row; a missing one is None."""
        cells = tuple(tuple(row.get(field) for field in columns) for row in rows)
        return cls(tuple(columns.values()), cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What `Figure.draw` makes.

    Attributes:
        chart: inside the axes `style.WIDTH` wide, or `inner` for each of `columns`.
        title: the finding in one sentence.
        alt: what the figure shows, in words.
        table: the data that are drawn.
        note: for the caption, such as that data are thinned.
        margin: CSS pixels beside `inner`: what axes and labels take.
        link: what the page's script reads to link the figure with the table of trials.
    """

    chart: Chart
    title: str
    alt: str
    table: DataTable
    note: str = ""
    inner: int = style.WIDTH
    columns: int = 1
    margin: int = 70
    link: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: of its files, without extension, and of its place for the script.
        caption: the text below it; title: the finding in one sentence, above it.
        alt: what it shows, in words.
        spec: Vega-Lite JSON with its data; colours are the CSS variables of `style.css`.
        svg: the same, drawn; it has no title.
        table: its data.
    """

    name: str
    place: Place
    title: str
    caption: str
    alt: str
    spec: dict[str, Any]
    svg: str
    table: DataTable

    @property
    def png(self) -> bytes:
        """The same with its title, on white, at twice the CSS pixels; drawn when it is read."""
        return static.png(self.svg, self.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Generic[Data]):
    """One figure of the report: `FIGURE` of a module in `dashboards/figures/`.

    Attributes:
        name: of its file in `figures/`, without extension.
        place: on the page.
        caption: the text below it.
        data: takes from the summary what is drawn; None = there is nothing to draw.
        draw: draws the data.
    """

    name: str
    place: Place
    caption: str
    data: Callable[[dict[str, Any]], Data | None]
    draw: Callable[[Data], Plot]

    def drawing(self, summary: dict[str, Any]) -> Drawing | None:
        """Draw the figure for a summary; None if there is nothing to draw.

        Raises:
            ValueError: Vega-Lite cannot draw the specification.
        """
        data = self.data(summary)
        if data is None:
            return None
        plot = self.draw(data)
        spec = specification(plot)
        svg = static.svg(spec, self.name)
        return Drawing(
            name=self.name,
            place=self.place,
            title=plot.title,
            caption=f"{self.caption} {plot.note}".strip(),
            alt=plot.alt,
            spec=spec,
            svg=svg,
            table=plot.table,
        )


def specification(plot: Plot) -> dict[str, Any]:
    """The Vega-Lite JSON of a plot.

    `usermeta.fit` tells a page how to fit it to its room: `inner` is the width that every view
    with this number has, `columns` how many stand side by side, `margin` what is beside them.
    """
    spec: dict[str, Any] = plot.chart.to_dict(context={"pre_transform": False})
    fit = {"inner": plot.inner, "columns": plot.columns, "margin": plot.margin}
    meta = {"fit": fit} | ({"link": plot.link} if plot.link else {})
    return spec | {"config": style.config(), "usermeta": meta}
