"""Descriptions in the MLflow UI, as Markdown: of a sweep's run, and of its experiment.

MLflow shows them on the run's page and above the experiment's table. Links and pictures are
addresses without a server, so that they hold wherever the UI is served.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from orchestrator.selection.answer import model_words
from orchestrator.tracking.pages import HERE, artifact_page, run_page, trials_page
from orchestrator.tracking.runlog import TAG_CHARACTERS
from orchestrator.tracking.sweeps import Address, sweeps_of
from orchestrator.tracking.tracker import Tracker
from orchestrator.visible import markdown, markdown_code
from orchestrator.vocabulary import Artifact, ExperimentTag, Tag

PICTURES = ("essential_sparsity.png", "arms.png", "pareto.png")
"""Figures of the report, the one to show first; of others the first by name."""

BETWEEN = "\n\n---\n\n"
"""Sweeps in the description of an experiment."""


def sweep_note(summary: dict[str, Any], where: Address, page: Path | None) -> str:
    """The description of a sweep's run: what it is, where to look next, its answer, a picture.

    The first line says most, because the UI shows no more of a description that is folded.

    Args:
        page: of the report as it is uploaded; None = there is none, so no picture.
    """
    counts = summary["trials"]
    failed = f", {counts['failed']:,} failed" if counts["failed"] else ""
    links = [f"[all trials, the best first]({_trials(where)})"]
    if page is not None:
        links.append(f"[report]({_report(where)})")
    lines = [
        f"LOTUS sweep **{markdown(summary['sweep'])}**, {counts['finished']:,} of "
        f"{counts['planned']:,} trials finished{failed}: {', '.join(links)}.",
        "",
        *(f"- {markdown(sentence)}" for sentence in summary["answer"].values() if sentence),
    ]
    if best := summary["recommended"]:
        lines.append(f"- Its model is {markdown_code(best['name'])}, {model_words(best['n'])}.")
    if picture := _picture(page):
        query = urlencode({"path": f"{Artifact.FIGURES}/{picture}", "run_uuid": where.parent})
        lines += ["", f"![{Path(picture).stem.replace('_', ' ')}](get-artifact?{query})"]
    return "\n".join(lines)


def begun_note(name: str, planned: int, where: Address) -> str:
    """The description of a sweep's run until it has an answer."""
    return (
        f"LOTUS sweep **{markdown(name)}**, {planned:,} trials planned: "
        f"[all trials, the best first]({_trials(where)}). It has not ended yet."
    )


def describe_experiment(tracker: Tracker, note: str) -> None:
    """Give the sweep's experiment a description of its sweeps, the newest first.

    One that somebody else has written or changed stays.

    Args:
        note: the description of this sweep.
    """
    where, client = tracker.address, tracker.client
    tags = tracker.ask(lambda: client.get_experiment(where.experiment_id)).tags
    before = tags.get(ExperimentTag.NOTE)
    if before and _digest(before) not in tags.get(ExperimentTag.NOTE_DIGEST, "").split():
        return
    text = ""
    for run in sweeps_of(client, where.experiment_id):
        own = run.info.run_id == where.parent
        link = run_page(HERE, where.experiment_id, run.info.run_id)
        about = note if own else run.data.tags.get(Tag.NOTE, markdown(run.info.run_name))
        part = f"{about}\n\n[Its run]({link})"
        if len(text) + len(part) + len(BETWEEN) > TAG_CHARACTERS:
            break
        text += BETWEEN + part if text else part
    if text == before:
        return
    # Both digests, and first: whoever dies before the second call has left a text that is known.
    digests = f"{_digest(before or '')} {_digest(text)}"
    for tag, value in ((ExperimentTag.NOTE_DIGEST, digests), (ExperimentTag.NOTE, text)):
        _tag(tracker, tag, value)


def _tag(tracker: Tracker, tag: str, value: str) -> None:
    where, client = tracker.address, tracker.client
    tracker.ask(lambda: client.set_experiment_tag(where.experiment_id, tag, value))


def _picture(page: Path | None) -> str | None:
    if page is None:
        return None
    made = sorted(path.name for path in (page.parent / "figures").glob("*.png"))
    return next((name for name in PICTURES if name in made), made[0] if made else None)


def _trials(where: Address) -> str:
    return trials_page(HERE, where.experiment_id, where.parent)


def _report(where: Address) -> str:
    return artifact_page(HERE, where.experiment_id, where.parent, Artifact.REPORT_PAGE)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
