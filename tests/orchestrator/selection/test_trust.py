"""What the strip of trust says, from made-up sweeps."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from orchestrator.selection.analysis import Analysis, analyse
from orchestrator.selection.comparisons import ArmComparison
from orchestrator.selection.trust import trust
from tests.dashboards.conftest import make_trials
from trials.arms import CONTROLS


@pytest.fixture(scope="module")
def whole() -> Analysis:
    trials = make_trials()
    return analyse(trials, None, len(trials), 0.01, "first_violation", (), None)


def marks(analysis: Analysis) -> dict[str, tuple[str, str]]:
    return {m["about"]: (m["standing"], m["words"]) for m in trust(analysis)}


def judged(analysis: Analysis, verdicts: dict[str, str]) -> Analysis:
    """The same sweep with other verdicts on its controls."""
    found = [
        replace(c, verdict=verdicts[c.b]) for c in analysis.comparisons
        if c.family == "against_controls" and c.b in verdicts
    ]  # fmt: skip
    assert all(isinstance(c, ArmComparison) for c in found)
    return replace(analysis, comparisons=found)


def test_a_whole_sweep_names_its_one_failure(whole: Analysis) -> None:
    found = marks(whole)
    assert list(found) == ["Seeds", "Controls", "Failures", "Not run"]
    assert found["Seeds"] == ("good", "3 seeds: speaks for other seeds too")
    assert found["Failures"] == ("bad", f"1 of {len(whole.results)} trials failed")
    assert found["Not run"] == ("good", "no arm is missing")


@pytest.mark.parametrize(
    ("verdict", "standing", "words"),
    [
        ("better", "good", "beaten: "),
        ("worse", "bad", "not beaten: "),
        ("equal", "bad", "not beaten: "),
        ("undecided", "open", "undecided: "),
    ],
)
def test_controls_stand_under_their_verdict(
    whole: Analysis, verdict: str, standing: str, words: str
) -> None:
    found = marks(judged(whole, dict.fromkeys(CONTROLS, verdict)))["Controls"]
    assert found == (standing, f"{words}random patches, random mask, one-shot magnitude")


def test_one_control_that_is_not_beaten_is_enough_for_doubt(whole: Analysis) -> None:
    verdicts = dict.fromkeys(CONTROLS, "better") | {CONTROLS[0]: "equal"}
    standing, words = marks(judged(whole, verdicts))["Controls"]
    assert standing == "bad"
    assert words.endswith(f"not beaten: {CONTROLS[0]}".replace("_", " "))


def test_a_control_that_was_not_run_is_no_proof(whole: Analysis) -> None:
    standing, words = marks(judged(whole, {CONTROLS[0]: "better"}))["Controls"]
    assert standing == "open"
    assert words.startswith(f"beaten: {CONTROLS[0]}; not compared: ".replace("_", " "))


def test_two_seeds_and_a_lone_arm_are_said(whole: Analysis) -> None:
    trials = make_trials()
    some = trials[trials["arm"].isin(["lotus"]) & (trials["seed"] < 2)]
    found = marks(analyse(some, None, len(some) + 4, 0.01, "first_violation", (), None))
    assert found["Seeds"][0] == "open"
    assert found["Seeds"][1].startswith("2 seeds: speaks for these models only")
    assert found["Failures"] == ("open", f"0 of {len(some) + 4} trials failed; 4 not finished")
    assert found["Not run"] == (
        "open",
        "Dense, Tickets only, One-shot pruning only, ISSP on all patches",
    )


def test_before_a_trial_has_finished_there_is_nothing_to_trust() -> None:
    empty: Any = analyse(pd.DataFrame(), None, 3, 0.01, "first_violation", (), None)
    assert trust(empty) == []
