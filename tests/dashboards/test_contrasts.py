from dashboards import ReportData, contrasts


def test_a_comparison_says_n_mean_both_intervals_and_its_verdict(full: ReportData) -> None:
    table = contrasts.comparisons_table(full.summary)
    said = [cell.text.replace("\u00a0", " ") for cell in table.rows[1]]
    assert said == [
        "Against a control, at matching settings", "LOTUS", "Random patches",
        "s 30 %, d 10 %, f 10 %", "test", "3", "10,000", "+0.2", "−0.4 to +0.8", "−0.6 to +1.0",
        "not told apart",
    ]  # fmt: skip
    assert len(table.heads) == len(said)


def test_right_after_pruning_it_is_the_mask_that_is_compared(full: ReportData) -> None:
    last = contrasts.comparisons_table(full.summary).rows[-1]
    assert [last[1].text, last[2].text, last[4].text] == [
        "ISSP mask", "One-shot magnitude", "validation",
    ]  # fmt: skip


def test_an_axis_that_only_the_second_arm_uses_is_said() -> None:
    comparison = {"setting_a": {"patch_drop": None}, "setting_b": {"patch_drop": 0.1}}
    (row,) = contrasts.comparisons_table({"comparisons": [comparison]}).rows
    assert row[3].text == "d 10\u00a0%"


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
