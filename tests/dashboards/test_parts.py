"""Parts of figures: ranges, and names that never become expressions."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dashboards import ReportData, parts, style
from dashboards.figure import specification
from dashboards.figures import FIGURES
from tests.dashboards.test_search import HALVING

EXPRESSIONS = {"expr", "calculate", "filter", "test", "labelExpr", "signal", "format", "params"}
EVIL = "datum['x'] + alert(1) \"'`${}"


@pytest.mark.parametrize(
    ("values", "least", "low", "high"),
    [
        ([70.0], 1.0, 69.44, 70.56),
        ([70.0, 70.0], 1.0, 69.44, 70.56),
        ([0.0, 10.0, None], 1.0, -0.6, 10.6),
        ([], 1.0, -0.06, 1.06),
    ],
)
def test_a_range_has_room_and_a_least_width(
    values: list[float | None], least: float, low: float, high: float
) -> None:
    assert parts.span(values, least) == pytest.approx([low, high])


def test_what_is_no_number_is_nothing() -> None:
    assert [parts.in_percent(v) for v in (0.123456789, None, float("nan"))] == [12.3457, None, None]


@pytest.mark.parametrize(
    ("counts", "said"),
    [([3, 3.0], "n = 3 seeds."), ([1, None, 3], "n = 1 to 3 seeds."), ([1], "n = 1 seed."),
     ([None], ""), ([], "")],
)  # fmt: skip
def test_a_sample_is_said_in_words(counts: list[float | None], said: str) -> None:
    assert parts.sample(counts) == said


def test_only_the_named_fields_are_drawn() -> None:
    chart = parts.chart([{"x": 1, "tip": "long"}], "x").mark_point()
    assert chart.to_dict()["datasets"].popitem()[1] == [{"x": 1}]


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a specification with the key that it stands under, without data."""
    if isinstance(value, dict):
        for inner, one in value.items():
            if inner not in ("datasets", "values"):
                yield from _texts(one, inner)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, key)
    elif isinstance(value, str):
        yield key, value


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_names_of_a_sweep_are_data_and_never_expressions(full: ReportData, figure: Any) -> None:
    arms = [row | {"label": EVIL + row["arm"]} for row in full.summary["known_arms"]]
    data = figure.data(full.summary | HALVING | {"known_arms": arms})
    assert data is not None
    spec = specification(figure.draw(data))
    for key, text in _texts({k: v for k, v in spec.items() if k != "config"}):
        assert key not in EXPRESSIONS or EVIL not in text
        if EVIL in text:
            assert key in ("domain", "title"), "a list of names, or a text"
        if key == "field":
            assert text.isidentifier()
    assert json.dumps(spec, allow_nan=False)
    for colour in (text for key, text in _texts(spec) if key in ("color", "fill", "stroke")):
        assert colour.startswith("var(--figure-") or colour == "shared", colour
    assert spec["usermeta"]["fit"]["inner"] <= style.WIDTH
