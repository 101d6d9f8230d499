import copy
from typing import Any

import pytest

from dashboards import ReportData, headline
from dashboards.data import plain


@pytest.fixture
def summary(full: ReportData) -> dict[str, Any]:
    result: dict[str, Any] = copy.deepcopy(plain(full.summary))
    return result


def card(summary: dict[str, Any], label: str) -> headline.Card:
    return next(c for c in headline.cards(summary) if c.label == label)


def spaces(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_the_top_says_the_summarys_own_sentences(summary: dict[str, Any]) -> None:
    rows, told = headline.answer(summary), summary["answer"]
    said = [row.words for row in rows]
    sentences = [told[name] for name in ("essential", "recommended", "saves", "costs", "surer")]
    assert said == [sentence.replace(" -", " −") for sentence in sentences]
    assert "these models −0.6 to −0.2" in said[3]
    assert all(sentence.endswith(".") for sentence in said)
    assert [row.label for row in rows] == list(headline.ROWS.values())
    assert said[1] == (
        "Recommended: LOTUS (one-shot level 30 %, final sparsity 50 %, 10 % of the patches "
        "dropped, masks from 10 % of the data)."
    )


def test_the_figure_beside_a_sentence_is_the_summarys(summary: dict[str, Any]) -> None:
    summary["recommended"] |= {"macs_ratio": 0.756, "difference": -0.0104, "arm": "tickets"}
    figures = {row.label: spaces(row.figure) for row in headline.answer(summary)}
    assert figures["What to use"] == "Tickets only"
    assert figures["What it saves"] == "0.76× MACs"
    assert figures["What it costs"] == "−1.0 points"
    summary["recommended"] |= {"macs_ratio": None, "difference": None}
    assert {row.figure for row in headline.answer(summary)} == {"", "Tickets only"}


def test_the_strip_of_trust_is_the_summarys_and_never_by_colour_alone(
    summary: dict[str, Any],
) -> None:
    rows = summary["trust"]
    assert [(m.about, m.words) for m in headline.trust(summary)] == [
        (row["about"], row["words"]) for row in rows
    ]
    rows[0]["standing"], rows[1]["standing"], rows[2]["standing"] = "good", "bad", "<b>"
    found = headline.trust(summary)
    assert [m.standing for m in found[:3]] == ["good", "bad", "open"]
    assert [m.meaning for m in found[:3]] == ["good", "not good", "open"]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"planned": 3, "finished": 2, "failed": 1}, ""),
        ({"planned": 3, "finished": 1, "failed": 1},
         "Not finished: 1 of 3 trials finished, 1 failed. All numbers will change."),
    ],
)  # fmt: skip
def test_an_unfinished_sweep_says_so(counts: dict[str, int], said: str) -> None:
    assert headline.unfinished({"trials": counts}) == said


def test_a_sweep_that_recommends_nothing_says_so(summary: dict[str, Any]) -> None:
    summary["answer"] |= dict.fromkeys(("recommended", "saves", "costs", "surer"))
    summary |= {"recommended": None, "diagnosis": None}
    assert [row.words for row in headline.answer(summary)] == [
        summary["answer"]["essential"], "The trials that finished allow no recommendation.",
    ]  # fmt: skip
    assert card(summary, "Setting").note == "No trial qualifies yet."
    summary["diagnosis"] = {"sentences": ["It was the merge.", "And more."]}
    assert headline.answer(summary)[-1].words == "It was the merge."


def test_every_number_of_the_cards_is_the_recommended_settings(summary: dict[str, Any]) -> None:
    best = summary["recommended"]
    best |= {
        "test_accuracy": 0.5126, "dense_test_accuracy": 0.6, "difference": -0.0874, "n": 5,
        "final_sparsity": 0.7126, "sparsity": 0.35, "macs_ratio": 1.9, "macs_ratio_kept": 0.9,
        "images_per_s_ratio": 1.2,
    }  # fmt: skip
    found = {c.label: (spaces(c.value), spaces(c.note)) for c in headline.cards(summary)}
    assert found["Test accuracy"] == (
        "51.3 %",
        "Mean over 5 seeds, on the patches that it keeps. Dense with equal fine-tuning: 60.0 %.",
    )
    assert found["Difference to dense"][0] == "−8.7 points"
    assert found["Final sparsity"] == (
        "71.3 %", "Of the prunable weights. One-shot level: 35 %.",
    )  # fmt: skip
    assert found["MACs per image, relative to dense"] == (
        "1.90×", "0.90× on the kept patches alone, measured at 1.20× the images/s; the rest "
        "chooses the patches.",
    )  # fmt: skip


def test_both_scopes_are_named_and_two_seeds_say_nothing_of_others(summary: dict[str, Any]) -> None:
    best = summary["recommended"]
    best |= {"models_low": -0.006, "models_high": -0.002, "seeds_low": -0.008, "seeds_high": 0.001}
    note = card(summary, "Difference to dense").note
    assert "95 % intervals: these models −0.6 to −0.2; other seeds −0.8 to +0.1." in spaces(note)
    best |= {"n_compared": 2, "seeds_low": None, "models_low": None, "scope": "these models"}
    note = spaces(card(summary, "Difference to dense").note)
    assert "these models unknown (too few images); other seeds unknown (n = 2)." in note
    best |= {"n_compared": 3, "scope": "other seeds"}
    assert "other seeds unknown (too wide)." in card(summary, "Difference to dense").note


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("shown", "Shown to be within 1 point (other seeds)."),
        ("not shown", "Not shown to be within 1 point (other seeds)."),
        ("exceeded", "Shown to lose more than 1 point (other seeds)."),
    ],
)
def test_the_verdict_admits_what_is_outside_the_tolerance(
    verdict: str, said: str, summary: dict[str, Any]
) -> None:
    summary["recommended"]["verdict"] = verdict
    assert card(summary, "Difference to dense").note.endswith(said)


def test_without_a_dense_arm_the_reference_is_named(summary: dict[str, Any]) -> None:
    summary["recommended"]["reference"] = "before_fine_tuning"
    assert "Dense before fine-tuning: " in card(summary, "Test accuracy").note


def test_an_arm_that_keeps_all_patches_saves_no_macs(summary: dict[str, Any]) -> None:
    summary["recommended"] |= {"macs_ratio": 1.0, "macs_ratio_kept": 1.0, "patch_drop": None}
    found = card(summary, "MACs per image, relative to dense")
    assert found.note == "All patches are kept; zeros alone speed nothing up."
    assert "on whole images" in card(summary, "Test accuracy").note


def test_an_interval_that_was_not_reached_says_so(summary: dict[str, Any]) -> None:
    summary["essential_sparsity"] |= {
        "value": 0.5,
        "low": 0.4,
        "high": None,
        "bracket": [0.5, None],
    }
    found = card(summary, "Essential sparsity")
    assert spaces(found.value) == "≥ 50 %"
    assert "40 % to above 50 %, the highest level measured" in spaces(found.note)


def test_an_interval_too_wide_to_read_is_no_number(summary: dict[str, Any]) -> None:
    summary["essential_sparsity"] |= {"low": None, "high": None, "scope": "these models"}
    note = spaces(card(summary, "Essential sparsity").note)
    assert note.startswith("The interval is too wide to say (these models).")


def test_an_interval_narrower_than_a_tenth_is_not_shown_as_of_no_width(
    summary: dict[str, Any],
) -> None:
    summary["essential_sparsity"] |= {"low": 0.3001, "high": 0.3003}
    assert "30.01 % to 30.03 %" in spaces(card(summary, "Essential sparsity").note)


def test_no_level_near_dense_is_said_in_words(summary: dict[str, Any]) -> None:
    summary["essential_sparsity"] |= {"value": 0.0, "low": 0.0, "high": 0.09, "bracket": [0.0, 0.1]}
    found = card(summary, "Essential sparsity")
    assert spaces(found.value) == "Below 10 %"
    assert "No level measured stays within the tolerance." in found.note


def test_no_measured_curve_is_said(summary: dict[str, Any]) -> None:
    found = card(summary | {"essential_sparsity": None}, "Essential sparsity")
    assert (found.value, found.note) == ("–", "Not measured in this sweep.")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("fine_tuned", "Dense is the arm with equal fine-tuning, 97.1 % on test over 3 seeds"),
        ("before_fine_tuning", "the arm `dense` with equal fine-tuning was not run."),
    ],
)
def test_the_one_dense_reference_is_said(
    reference: str, said: str, summary: dict[str, Any]
) -> None:
    summary["dense"]["reference"] = reference
    assert said in spaces(headline.dense_note(summary))
