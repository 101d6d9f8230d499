"""Every figure is one registered thing: data, drawing, caption, file and place."""

from importlib.resources import files
from typing import get_args

import pytest

from dashboards import ReportData
from dashboards.figure import Figure, Place
from dashboards.figures import FIGURES, drawn
from dashboards.files import OLDER_FIGURES
from tests.dashboards.test_search import HALVING

TEMPLATE = files("dashboards").joinpath("report.html.j2").read_text("utf-8")


def test_every_module_of_the_folder_is_a_figure_by_the_name_of_its_file() -> None:
    folder = files("dashboards").joinpath("figures")
    modules = {path.name for path in folder.iterdir() if path.name.endswith(".py")}
    assert [f"{figure.name}.py" for figure in FIGURES] == sorted(modules - {"__init__.py"})
    assert {figure.name for figure in FIGURES} >= set(OLDER_FIGURES)


@pytest.mark.parametrize("place", get_args(Place))
def test_the_page_shows_the_figures_of_every_place_once(place: str) -> None:
    assert TEMPLATE.count(f"{{{{ shown(figures.{place}") == (2 if place == "essential" else 1)


def test_the_first_curve_stands_beside_the_answer_and_the_others_in_their_section() -> None:
    assert "shown(figures.essential[:1])" in TEMPLATE
    assert "shown(figures.essential[1:])" in TEMPLATE


def test_no_place_is_empty() -> None:
    assert {figure.place for figure in FIGURES} == set(get_args(Place))


def test_every_figure_is_drawn_from_a_summary_that_has_all(full: ReportData) -> None:
    found = drawn(full.summary | HALVING)
    assert [drawing.name for drawing in found] == [figure.name for figure in FIGURES]
    for figure, drawing in zip(FIGURES, found, strict=True):
        assert drawing.place == figure.place
        assert drawing.caption.startswith(figure.caption)
        assert drawing.caption.endswith(".")
        assert drawing.title
        assert not drawing.title.endswith(".")
        assert len(drawing.table.rows) > 0
        assert {len(row) for row in drawing.table.rows} == {len(drawing.table.columns)}


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_an_empty_summary_has_nothing_to_draw(figure: Figure[object]) -> None:
    assert figure.data({}) is None
