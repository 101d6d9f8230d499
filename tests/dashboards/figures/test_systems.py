"""TEST DATA, made up."""

from typing import Any

from dashboards.figures.systems import FIGURE
from tests.dashboards.reading_figures import rows, units


def row(accuracy: float, macs: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "arm": "evit", "system": "EViT", "control": False, "trained": True, "front": False, "n": 3,
        "point": {"reduction.keep": "0.7"}, "test_accuracy": accuracy, "macs_ratio": macs,
        "validation": {"mean": accuracy, "ci_low": accuracy - 0.01, "ci_high": accuracy + 0.01},
        "kept": 1.0, "training_ratio": 0.7, "controls": [],
    } | changes  # fmt: skip


def summary(*found: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {
            "family": None,
            "label": "Dense",
            "rows": [row(0.9, 1.0, system="Dense", front=True, point={})],
        },
        {"family": "tokens", "label": "Token reduction", "rows": list(found)},
    ]
    return {"systems": {"families": entries}}


def plot(*found: dict[str, Any]) -> Any:
    shown = FIGURE.data(summary(*found))
    assert shown is not None
    return FIGURE.draw(shown)


def test_one_system_alone_and_one_without_a_cost_are_not_drawn() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data(summary()) is None
    assert FIGURE.data(summary(row(0.9, None))) is None


def test_colour_is_the_family_size_the_weights_kept_and_controls_are_crosses() -> None:
    drawn = plot(
        row(0.89, 0.7, kept=0.5),
        row(0.88, 0.7, control=True),
        row(0.87, 0.6, trained=False),
    )
    marks = [r for r in rows(drawn, "look") if "kept" in r]
    assert {(r["family"], r["look"], r["kept"]) for r in marks} == {
        ("Dense", "Trained", 100.0),
        ("Token reduction", "Trained", 50.0),
        ("Token reduction", "Control", 100.0),
        ("Token reduction", "Not trained", 100.0),
    }
    encoded = [view["encoding"] for view, _ in units(drawn) if "size" in view["encoding"]]
    assert [e["size"]["field"] for e in encoded] == ["kept"]
    assert len(rows(drawn, "low")) == 4, "an interval each"


def test_the_title_counts_verdicts_and_ranks_no_points() -> None:
    drawn = plot(
        row(0.89, 0.7, controls=[{"verdict": "better"}]),
        row(0.88, 0.6, controls=[{"verdict": "undecided"}]),
    )
    assert drawn.title == (
        "1 of 2 comparisons of a system with its own control show it better; 1 of 3 settings are "
        "beaten by no other on validation"
    )
    assert plot(row(0.8, 0.7)).title.startswith("No system has a control of its own")


def test_what_is_far_below_is_in_the_table_and_counted() -> None:
    drawn = plot(row(0.5, 0.7), row(0.89, 0.7))
    assert len(drawn.table.rows) == 3
    assert "1 setting lies 6 points or more below the best." in drawn.note
    assert min(r["accuracy"] for r in rows(drawn, "accuracy")) > 80


def test_only_the_front_is_named() -> None:
    drawn = plot(row(0.88, 0.7, front=True, system="ToMe"), row(0.87, 0.8))
    assert {r["label"] for r in rows(drawn, "label")} == {
        "Dense", "ToMe, keep 0.7",
    }  # fmt: skip
