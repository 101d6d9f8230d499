"""TEST DATA, made up."""

from typing import Any

from dashboards import style
from dashboards.figures.settings_heat import FIGURE, MOST_MAPS, step_names, thinned
from orchestrator.selection.arms import known_arms
from tests.dashboards.reading_figures import rows

AXES = ("sparsity", "patch_drop", "mask_data_fraction")


def setting(accuracy: float, *place: float, **more: Any) -> dict[str, Any]:
    axes = dict(zip(AXES, place, strict=True)) | more
    return {"arm": "lotus", "mean": accuracy, "n": 3, "setting": axes}


def summary(*settings: dict[str, Any]) -> dict[str, Any]:
    ordered = sorted(settings, key=lambda row: -row["mean"])
    return {"known_arms": known_arms(), "tried": ordered}


GRID = [
    setting(0.97 - 0.1 * (s - 0.1) - 0.1 * d, s, d, f)
    for s in (0.1, 0.5) for d in (0.1, 0.3) for f in (0.1, 1.0)
]  # fmt: skip


def test_an_axis_with_one_value_makes_no_map() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data(summary(*(r for r in GRID if r["setting"]["patch_drop"] == 0.1))) is None


def test_every_cell_stands_in_its_map_with_its_accuracy() -> None:
    plot = FIGURE.draw(FIGURE.data(summary(*GRID)))
    cells = {(r["panel"], r["drop"], r["data"]): r["label"] for r in rows(plot, "label")}
    assert len(cells) == 8
    assert cells["Sparsity 50\u00a0%", "30\u00a0%", "100\u00a0%"] == "90.0"
    assert plot.title.replace("\u00a0", " ") == (
        "LOTUS is best at one-shot level 10 %, patches dropped 10 %, data for the masks 10 %: "
        "96.0 %"
    )


def test_where_settings_share_a_cell_the_best_stands_for_them() -> None:
    worse = setting(0.2, 0.1, 0.1, 0.1, **{"issp.merge": "x"})
    plot = FIGURE.draw(FIGURE.data(summary(*GRID, worse)))
    assert len(rows(plot, "label")) == 8
    assert "the best stands for all" in plot.note
    assert {row[-1] for row in plot.table.rows} == {1, 2}


def test_a_point_is_a_step_of_colour_and_a_collapse_the_lowest() -> None:
    names = step_names(97.0)
    assert len(names) == len(set(names)) == len(style.HEAT_COLOURS)
    assert (names[0], names[-1]) == ("below 92.7", "96.3 and more")
    bad = setting(0.1, 0.5, 0.3, 1.0)
    plot = FIGURE.draw(FIGURE.data(summary(*GRID[:-1], bad)))
    steps = {row["label"]: row["step"] for row in rows(plot, "label")}
    assert steps["10.0"] == step_names(96.0)[0]
    assert steps["96.0"] == step_names(96.0)[-1]


def test_many_sparsities_are_thinned_evenly() -> None:
    levels = [i / 20 for i in range(17)]
    assert len(thinned(levels)) == MOST_MAPS
    assert thinned(levels)[:2] == [0.0, 0.1]
    assert thinned(levels)[-1] == 0.8
