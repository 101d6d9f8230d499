"""The tables of claims and of the diagnosis. TEST DATA, made up."""

from dataclasses import replace
from pathlib import Path

from dashboards import ReportData, verdicts, write_report
from tests.dashboards.test_diagnosis import found

CLAIM = {
    "id": "one_shot_30", "claim": "One-shot pruning of 30 % <keeps> accuracy",
    "paper": "about 79 %", "figure": 2, "ours": "89.0 %, n = 3", "n": 3, "mean": 0.01,
    "ci_low": 0.0, "ci_high": 0.02, "verdict": "not reproduced", "why": "undecided",
}  # fmt: skip


def test_a_claim_leads_to_the_papers_figure_and_one_without_leads_nowhere() -> None:
    ours = CLAIM | {"figure": None, "verdict": "reproduced"}
    first, second = verdicts.claim_rows({"claims": [CLAIM, ours]})
    assert (first.figure, first.place, first.look) == ("Figure 2", "essential", "bad")
    assert (second.figure, second.place, second.look) == ("", "", "live")
    assert verdicts.claim_rows({}) == []


def test_data_lths_test_stands_after_the_papers_claims() -> None:
    lth = CLAIM | {"figure": None, "claim": "Data-LTH", "verdict": "undecided"}
    rows = verdicts.claim_rows({"claims": [CLAIM], "data_lth": [lth]})
    assert [(row.claim, row.figure, row.verdict) for row in rows] == [
        (CLAIM["claim"], "Figure 2", "not reproduced"),
        ("Data-LTH", "", "undecided"),
    ]


def test_every_place_of_a_claim_is_a_section_of_the_page(full: ReportData, tmp_path: Path) -> None:
    claims = [CLAIM | {"figure": figure} for figure in verdicts.PLACES]
    data = replace(full, summary=dict(full.summary) | {"claims": claims})
    source = write_report(data, tmp_path).read_text()
    for place in verdicts.PLACES.values():
        assert f'<section id="{place}">' in source
        assert f'<a href="#{place}">Figure' in source
    assert "&lt;keeps&gt;" in source
    assert '<span class="mark bad">not reproduced</span>' in source


def test_the_diagnosis_table_puts_each_anchor_before_its_changes() -> None:
    table = verdicts.diagnosis_table(found())
    assert [row[0].text for row in table.rows] == [
        "the literal reading", "union polarity: 1", "recovery epochs: 1", "the default reading",
        "look-ahead steps: 1",
    ]  # fmt: skip
    effect = table.rows[1][table.heads.index("Effect, just pruned")]
    assert (effect.text, effect.value) == ("+48.0", 0.48)
    assert table.rows[0][table.heads.index("of which one-shot")].text == "+50.0"
    assert "Beyond random" not in table.heads  # no row has it


def test_without_a_diagnosis_the_table_is_empty() -> None:
    assert verdicts.diagnosis_table({}).rows == ()
