"""TEST DATA, made up."""

import json
import re

from dashboards.figures.settings_lines import FIGURE, MOST, MOST_AXES, line_of_trial, thinned
from dashboards.text import AUTO
from tests.dashboards.figures.test_settings_heat import GRID, setting, summary
from tests.dashboards.reading_figures import rows


def test_few_settings_or_two_axes_are_no_figure() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data(summary(*GRID[:4])) is None
    two = [setting(0.9, 0.05 * i, i % 3 / 10, 0.1) for i in range(9)]
    assert FIGURE.data(summary(*two)) is None


def test_every_setting_is_a_line_through_the_axes_that_vary() -> None:
    plot = FIGURE.draw(FIGURE.data(summary(*GRID)))
    points = [row for row in rows(plot, "line") if row["line"] == 1]
    assert {row["axis"]: (row["text"].replace("\u00a0", " "), row["height"]) for row in points} == {
        "One-shot level": ("10 %", 0),
        "Patches dropped": ("10 %", 0),
        "Data for the masks": ("10 %", 0),
        "Val. accuracy": ("96.00 %", 1),
    }
    assert plot.title.startswith("The best 1 of 8 settings of LOTUS: one-shot level 10")


def test_values_that_are_no_numbers_stand_evenly() -> None:
    levels = (0.1, 0.2, AUTO)
    places = [(level, d, f) for level in levels for d in (0.1, 0.3) for f in (0.1, 1.0)]
    settings = [setting(0.9, *place) for place in places]
    plot = FIGURE.draw(FIGURE.data(summary(*settings)))
    heights = {r["text"]: r["height"] for r in rows(plot, "line") if r["axis"] == "One-shot level"}
    assert heights == {"10\u00a0%": 0, "20\u00a0%": 0.5, "auto": 1}


def test_settings_of_equal_accuracy_are_drawn() -> None:
    settings = [row | {"mean": 0.9} for row in GRID]
    drawing = FIGURE.drawing(summary(*settings))
    assert drawing is not None
    assert "NaN" not in drawing.svg


def test_many_settings_are_thinned_and_the_best_are_kept() -> None:
    many = [{"mean": i} for i in range(5_000)]
    drawn = thinned(many, 500)
    assert len(drawn) == len(set(drawn)) == MOST
    assert drawn[:100] == list(range(100))
    assert drawn[-1] == 4_999


def test_a_thousand_settings_stay_small() -> None:
    settings = [setting(0.9 - i / 1e4, i % 9 / 10, i % 7 / 10, i % 5 / 10) for i in range(1_000)]
    plot = FIGURE.draw(FIGURE.data(summary(*settings)))
    assert f"{MOST} of 1000 settings are drawn" in plot.note
    assert len(json.dumps(plot.chart.to_dict())) < 600_000


def test_the_script_is_told_between_which_values_lines_can_be_chosen() -> None:
    shown = FIGURE.data(summary(*GRID))
    link = FIGURE.draw(shown).link
    assert link is not None
    named = {axis["name"]: [text for text, _ in axis["values"]] for axis in link["axes"]}
    assert list(named) == [
        "One-shot level",
        "Patches dropped",
        "Data for the masks",
        "Val. accuracy",
    ]
    assert [text.replace("\u00a0", " ") for text in named["Patches dropped"]] == ["10 %", "30 %"]
    assert len(link["lines"]) == len(shown.rows)
    for heights in link["lines"]:
        known = [[height for _, height in axis["values"]] for axis in link["axes"][:-1]]
        assert all(h in values for h, values in zip(heights, known, strict=False))


def test_a_trial_is_found_by_its_setting() -> None:
    rows_ = [row | {"trials": [f"key-{i}-{n}" for n in range(2)]} for i, row in enumerate(GRID)]
    found = line_of_trial(summary(*rows_))
    assert len(found) == 2 * len(GRID)
    assert found["key-0-0"] == found["key-0-1"]
    assert sorted(set(found.values())) == list(range(1, len(GRID) + 1))
    assert line_of_trial({}) == {}


def test_of_many_axes_some_are_drawn_and_the_note_says_so() -> None:
    settings = [
        row | {"setting": row["setting"] | {f"issp.axis_{n}": i % (n + 2) for n in range(9)}}
        for i, row in enumerate(GRID)
    ]
    plot = FIGURE.draw(FIGURE.data(summary(*settings)))
    assert len({row["axis"] for row in rows(plot, "line")}) == MOST_AXES + 1
    assert f"{MOST_AXES} of 12 axes are drawn" in plot.note
    assert "axes are drawn" not in FIGURE.draw(FIGURE.data(summary(*GRID))).note


def test_a_key_of_the_sweep_file_has_a_line_for_each_of_its_parts() -> None:
    """And above the frame there is room for all of them."""
    settings = [
        row | {"setting": row["setting"] | {"issp.sparsity_reference": f"r{i % 2}"}}
        for i, row in enumerate(GRID)
    ]
    few, many = (FIGURE.drawing(summary(*found)) for found in (GRID, settings))
    assert few is not None
    assert many is not None
    for part in ("issp.", "sparsity_", "reference"):
        assert f">{part}</tspan>" in many.svg
    assert height(many.svg) > height(few.svg)


def height(svg: str) -> float:
    found = re.search(r'<svg[^>]* height="([\d.]+)"', svg)
    assert found
    return float(found[1])
