"""The diagnosis, and its section on the page. TEST DATA, made up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dashboards import ReportData, diagnosis, write_report


def entry(**values: Any) -> dict[str, Any]:
    """A setting as the summary has it."""
    names = ("final_drop", "control_drop", "excess", "final_excess", "random_excess", "collapsed")
    row = dict.fromkeys(names) | {"n": 3, "sparsity": 0.5, "accuracy": 0.9, "drop": 0.07}
    return row | values


def change(anchor: int, suspect: str, effect: float | None, **values: Any) -> dict[str, Any]:
    """One change as the summary has it."""
    row = entry(anchor=anchor, suspect=suspect, label=suspect, value=1, anchor_value=0)
    row |= {"effect_pruned": effect, "low": None, "high": None, "verdict": "not told apart"}
    row |= {"effect_final": 0.01, "final_low": -0.01, "final_high": 0.03}
    if effect is not None:
        row |= {"low": effect - 0.02, "high": effect + 0.02}
    return row | values


def found() -> dict[str, Any]:
    """A literal reading that collapses and a default one that does not."""
    return {
        "collapse": True,
        "limit": 0.2,
        "dense": 0.97,
        "family": 14,
        "anchors": [
            entry(name="the literal reading", dense=0.97, sparsity=0.79, accuracy=0.4, drop=0.57,
                  control_drop=0.5, excess=0.07),
            entry(name="the default reading", dense=0.97),
        ],
        "suspects": [
            change(0, "union polarity", 0.48, verdict="better"),
            change(0, "recovery epochs", None),
            change(1, "look-ahead steps", -0.003),
        ],
        "controls": [
            {"arm": a, "sparsity": s, "n": 3, "accuracy": v}
            for a, s, v in (("magnitude", 0.79, 0.47), ("magnitude", 0.5, 0.95),
                            ("random_mask", 0.5, 0.2), ("magnitude", 0.6, None))
        ],
        "sentences": ["The collapse appeared: 1 of 5.", "Cause: <b>how much</b> is pruned."],
    }  # fmt: skip


def test_changes_stand_with_their_anchor_in_the_diagnosis_order() -> None:
    groups = diagnosis.by_anchor(found())
    assert [[r["suspect"] for r in rows] for _, rows in groups] == [
        ["union polarity", "recovery epochs"], ["look-ahead steps"],
    ]  # fmt: skip


def test_the_page_shows_the_cause_and_escapes_it(full: ReportData, tmp_path: Path) -> None:
    data = replace(full, summary=dict(full.summary) | {"diagnosis": found()})
    source = write_report(data, tmp_path).read_text()
    assert "<strong>The collapse appeared: 1 of 5.</strong>" in source
    assert "Cause: &lt;b&gt;how much" in source
    assert "The 14 intervals shown" in source
    assert "vary one suspect at a time" not in source
    for name in ("diagnosis_effects", "diagnosis_sparsity"):
        assert (tmp_path / "figures" / f"{name}.png").exists()


def test_a_page_without_a_design_says_what_to_vary(full: ReportData, tmp_path: Path) -> None:
    data = replace(full, summary=dict(full.summary) | {"diagnosis": None})
    source = write_report(data, tmp_path).read_text()
    assert "vary one suspect at a time" in source
    assert not (tmp_path / "figures" / "diagnosis_effects.png").exists()
