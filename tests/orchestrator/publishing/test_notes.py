"""Descriptions in the MLflow UI: the report's sentences, and nothing of them taken for markup."""

from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from orchestrator.planning.config import SweepConfig
from orchestrator.publishing.notes import begun_note, describe_experiment, sweep_note
from orchestrator.tracking.sweeps import Address
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.vocabulary import ExperimentTag

MARKDOWN = MarkdownIt().enable("table")
WHERE = Address("sqlite:////x.db", "7", "p" * 32)
HOSTILE = {
    "html": "<img src=x onerror=alert(1)>",
    "script": "<script>alert(1)</script>",
    "markup": "*a* _b_ `c` [d](http://e) ![f](g) # h | i ~~j~~ \\",
    "entity": "&lt;b&gt; &#60;",
    "long": "x" * 300,
    "right to left": "\u202eabc\u202c \u05e9\u05dc\u05d5\u05dd",
    "lines": "a\n\n# b",
}


def summary(text: str = "It loses 0.1 points.", **trials: int) -> dict[str, Any]:
    return {
        "sweep": "tiny",
        "trials": {"planned": 18, "finished": 17, "failed": 0} | trials,
        "answer": {"essential": text, "recommended": None, "saves": None, "costs": None},
        "recommended": {"name": text, "n": 2},
    }


def words_of(markdown: str) -> tuple[str, set[str]]:
    """What a reader of rendered Markdown sees, and the elements that it is made of."""
    tokens = [token for block in MARKDOWN.parse(markdown) for token in block.children or ()]
    text = "".join(token.content for token in tokens if token.type in ("text", "code_inline"))
    return text, {token.tag for token in tokens if token.tag} | {
        token.type for token in tokens if token.type == "html_inline"
    }


def test_the_first_line_says_what_it_is_and_where_the_trials_are(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    first, *_ = sweep_note(summary(failed=1), WHERE, page).splitlines()
    assert first == (
        "LOTUS sweep **tiny**, 17 of 18 trials finished, 1 failed: "
        f"[all trials, the best first](#/experiments/7/runs?viewStateShareKey={WHERE.parent}"
        "&workflowType=machine_learning), "
        f"[report](#/experiments/7/runs/{WHERE.parent}/artifacts/report/report.html"
        "?workflowType=machine_learning)."
    )


def test_the_picture_is_one_that_the_report_has(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert "![" not in sweep_note(summary(), WHERE, None)
    assert "![" not in sweep_note(summary(), WHERE, page)
    (tmp_path / "figures").mkdir()
    for name, shown in (("z.png", "z.png"), ("essential_sparsity.png", "essential_sparsity.png")):
        (tmp_path / "figures" / name).touch()
        picture = f"(get-artifact?path=report%2Ffigures%2F{shown}&run_uuid={WHERE.parent})"
        assert picture in sweep_note(summary(), WHERE, page)


def test_a_sweep_that_runs_says_so_and_links_its_trials() -> None:
    said = begun_note("a*b", 18, WHERE)
    assert said.startswith(
        "LOTUS sweep **a\\*b**, 18 trials planned: [all trials, the best first](#/"
    )
    assert said.endswith("It has not ended yet.")


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_text(kind: str) -> None:
    note = sweep_note(summary(HOSTILE[kind]), WHERE, None)
    seen, elements = words_of(note)
    shown = HOSTILE[kind].replace("\n", "\\n")
    shown = shown.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert seen.count(shown) == 2, "as a sentence, and as the name of the model"
    assert elements == {"strong", "a", "code"}


@pytest.fixture
def tracker(tracked: SweepConfig) -> Tracker:
    return Tracker(open_sweep(tracked))


def note_of(tracker: Tracker) -> str | None:
    tags = tracker.client.get_experiment(tracker.address.experiment_id).tags
    return tags.get(ExperimentTag.NOTE)


def test_an_experiment_tells_of_each_of_its_sweeps_the_newest_first(
    tracked: SweepConfig, tracker: Tracker
) -> None:
    describe_experiment(tracker, "First.")
    tracker.sweep_log().flush(tags={"mlflow.note.content": "First."})
    other = Tracker(open_sweep(tracked.model_copy(update={"name": "other"})))
    describe_experiment(other, "Second.")
    said = note_of(tracker) or ""
    assert said.index("Second.") < said.index("First.")
    assert other.address.parent in said
    describe_experiment(tracker, "x" * 4900)
    assert len(note_of(tracker) or "") <= 5000


def test_what_somebody_else_has_written_stays(tracker: Tracker) -> None:
    experiment = tracker.address.experiment_id
    describe_experiment(tracker, "Ours.")
    describe_experiment(tracker, "Ours, again.")
    ours = note_of(tracker) or ""
    assert "Ours, again." in ours
    tracker.client.set_experiment_tag(experiment, ExperimentTag.NOTE, f"{ours} And mine.")
    describe_experiment(tracker, "Ours, once more.")
    assert note_of(tracker) == f"{ours} And mine."
