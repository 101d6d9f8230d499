from typing import Any

import pytest

from dashboards import ReportData, contrasts
from orchestrator.selection.arms import known_arms

KNOWN = {"known_arms": known_arms()}
SETTING = {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}


def comparison(**changes: Any) -> dict[str, Any]:
    """One comparison as the summary has it."""
    return {
        "family": "against_controls", "family_size": 3, "a": "lotus", "b": "random_patches",
        "setting_a": SETTING, "setting_b": SETTING, "split": "test", "n": 3, "n_images": 10_000,
        "mean": 0.002, "models_low": -0.003, "models_high": 0.007, "models_corrected_low": -0.004,
        "models_corrected_high": 0.008, "seeds_low": -0.004, "seeds_high": 0.008,
        "seeds_corrected_low": -0.006, "seeds_corrected_high": 0.0101, "margin": 0.01,
        "scope": "other seeds", "verdict": "undecided", "verdict_models": "equal",
        "equal_within": None, "would_decide": "about 9 seeds would decide",
    } | changes  # fmt: skip


def test_a_comparison_says_n_mean_both_scopes_alone_and_at_once_and_its_verdict() -> None:
    table = contrasts.comparisons_table(KNOWN | {"comparisons": [comparison()]})
    said = [cell.text.replace("\u00a0", " ") for cell in table.rows[0]]
    assert said == [
        "Against a control, at matching settings", "LOTUS", "Random patches",
        "s 30 %, d 10 %, f 10 %", "test", "3", "10,000", "+0.2", "−0.3 to +0.7", "−0.4 to +0.8",
        "−0.4 to +0.8", "−0.6 to +1.0", "undecided: about 9 seeds would decide (other seeds)",
    ]  # fmt: skip
    assert len(table.heads) == len(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "better"}, "better (other seeds)"),
        ({"verdict": "worse", "scope": "these models"}, "worse (these models)"),
        ({"verdict": "equal", "equal_within": 0.0072}, "equal within 0.8 points (other seeds)"),
        ({"verdict": "equal", "equal_within": 0.01}, "equal within 1.0 point (other seeds)"),
        ({"would_decide": None}, "undecided (other seeds)"),
    ],
)
def test_a_verdict_names_its_scope_and_an_equal_one_its_bound(
    changes: dict[str, Any], said: str
) -> None:
    assert contrasts.verdict_words(comparison(**changes)) == said


def test_two_seeds_leave_the_columns_of_other_seeds_empty() -> None:
    none = {f"seeds_{end}": None for end in ("low", "high", "corrected_low", "corrected_high")}
    (row,) = contrasts.comparisons_table({"comparisons": [comparison(n=2, **none)]}).rows
    assert [cell.text for cell in row[8:12]] == ["−0.3 to +0.7", "−0.4 to +0.8", "–", "–"]


def test_every_comparison_of_the_summary_stands_in_the_table(full: ReportData) -> None:
    found = full.summary["comparisons"]
    rows = contrasts.comparisons_table(full.summary).rows
    assert [row[7].value for row in rows] == [c["mean"] for c in found]
    assert [row[12].text for row in rows] == [contrasts.verdict_words(c) for c in found]
    assert {c["verdict"] for c in found} >= {"better", "worse", "equal"}
    assert contrasts.comparisons_note(full.summary) == (
        "against the dense arm, with equal fine-tuning: 7; against a control, at matching "
        "settings: 3; right after pruning, at equal sparsity: 3"
    )


def test_right_after_pruning_it_is_the_mask_that_is_compared(full: ReportData) -> None:
    rows = contrasts.comparisons_table(full.summary).rows
    assert [[row[1].text, row[2].text, row[4].text] for row in rows[-3:]] == [
        ["ISSP mask", "One-shot magnitude", "validation"],
        ["ISSP mask", "Random mask", "validation"],
        ["One-shot magnitude", "Random mask", "validation"],
    ]


def test_an_axis_that_only_the_second_arm_uses_is_said() -> None:
    comparison = {"setting_a": {"patch_drop": None}, "setting_b": {"patch_drop": 0.1}}
    (row,) = contrasts.comparisons_table({"comparisons": [comparison]}).rows
    assert row[3].text == "d\u00a010\u00a0%"


def test_pairs_of_a_kind_are_counted_once(full: ReportData) -> None:
    assert contrasts.overlap_note(full.summary) == "12 pairs"
    rows = contrasts.overlap_table(full.summary).rows
    assert [row[1].text.replace("\u00a0", " ") for row in rows] == [
        "all", "all", "10 % and 30 %", "10 % and 100 %", "all", "all",
    ]  # fmt: skip
    assert [cell.text for cell in rows[0]][2:] == ["6", "4", "0.620", "0.590 to 0.640", "0.330"]


def test_nothing_compared_gives_empty_tables() -> None:
    for summary in ({}, {"comparisons": [], "overlap": {"groups": [], "layers": []}}):
        assert not contrasts.comparisons_table(summary).rows
        assert not contrasts.overlap_table(summary).rows


def test_a_reading_of_isp_has_a_row_beside_one_shot() -> None:
    row = {"system": "Lottery tickets (LTH)", "preset": "lth", "sparsity": 0.5, "n_pairs": 3,
           "jaccard": 0.6, "jaccard_lowest": 0.5, "jaccard_highest": 0.7, "shared": 0.75,
           "shared_lowest": 0.7, "shared_highest": 0.8, "random": 0.33}  # fmt: skip
    found = contrasts.one_shot_table({"overlap": {"one_shot": [row]}})
    assert [cell.text.replace("\u00a0", " ") for cell in found.rows[0]] == [
        "Lottery tickets (LTH)", "50 %", "3", "0.600", "0.500 to 0.700", "0.750", "0.700 to 0.800",
        "0.330",
    ]  # fmt: skip
    assert contrasts.one_shot_table({}).rows == ()
