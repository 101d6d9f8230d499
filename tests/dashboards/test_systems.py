"""TEST DATA, made up: the tables of the seed systems."""

from typing import Any

import pytest

from dashboards import systems
from orchestrator.selection import summarise
from tests.orchestrator.selection.made_systems import AXES, every_family, table


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    trials = table()
    return summarise(
        trials, sweep="s", planned=len(trials), device="cpu", device_hours=0.0,
        device_hours_saved=0.0, wall_s=None, axes=AXES,
    )  # fmt: skip


def texts(row: Any) -> list[str]:
    return [cell.text.replace("\u00a0", " ") for cell in row]


def test_each_family_has_a_table_that_begins_with_dense(summary: dict[str, Any]) -> None:
    found = systems.families(summary)
    assert [f.name for f in found] == ["tokens", "tickets", "weights", "lotus", "combined"]
    for family in found:
        assert family.systems.rows[0][0].text == "Dense"
        assert "corrected together" in family.note
    first = dict(zip(found[0].systems.heads, texts(found[0].systems.rows[1]), strict=True))
    assert first["System"] == "EViT"
    assert first["Setting"] == "keep 0.7"
    assert (first["Test accuracy"], first["MACs"], first["Weights kept"]) == (
        "89.0 %", "0.75×", "100.0 %",
    )  # fmt: skip
    assert first["To dense, points"] == "−1.0"
    assert first["Against dense"] == "worse (other seeds)"


def test_untrained_and_control_systems_are_marked(summary: dict[str, Any]) -> None:
    names = [row[0].text for row in systems.families(summary)[0].systems.rows]
    assert "ToMe (no training)" in names
    assert "Control: random tokens" in names


def test_a_control_that_was_not_run_is_not_measured(summary: dict[str, Any]) -> None:
    tokens = systems.families(summary)[0].controls
    said = {row[0].text: row[-1].text for row in tokens.rows}
    assert said["EViT"] == "better (other seeds)"
    assert said["DynamicViT"].startswith("not measured: add reduction.method: [random]")


def test_training_costs_stand_from_the_least_to_the_most(summary: dict[str, Any]) -> None:
    rows = systems.by_training(summary).rows
    costs = [row[2].value for row in rows]
    assert costs == sorted(costs)
    assert rows[-1][0].text == "Lottery tickets (LTH)"
    assert len(rows) == sum(row["seed"] == 0 for row in every_family())


def test_claims_have_a_verdict_and_a_reason(summary: dict[str, Any]) -> None:
    found = systems.claims(summary)
    assert len(found) == len(summary["systems"]["claims"])
    assert all(c.verdict and c.why for c in found)
    assert {c.look for c in found if c.verdict == "not measured"} == {""}


def test_a_family_says_what_is_left_out_and_which_dense_model_is_meant() -> None:
    rows = [{"reference": "before_fine_tuning", "dense": {"mean": 0.1}}, {"dense": None}]
    entry = {"family": "tokens", "label": "T", "comparisons": 1, "left_out": 2, "rows": rows}
    (family,) = systems.families({"systems": {"families": [entry]}})
    assert "2 further settings are not shown" in family.note
    assert "1 difference to the dense model before fine-tuning" in family.note


def test_nothing_is_said_without_systems() -> None:
    for empty in ({}, {"systems": None}):
        assert systems.families(empty) == []
        assert systems.claims(empty) == []
        assert systems.matched_table(empty).rows == ()
        assert systems.by_training(empty).rows == ()


def test_names_of_a_sweep_are_shown_as_text() -> None:
    row = {
        "system": "<b>x\u202e</b>",
        "control": False,
        "trained": True,
        "point": {"a.b": "\x1b[1m"},
    }
    assert "\u202e" not in systems.name(row)
    assert "\x1b" not in systems.place(row)
