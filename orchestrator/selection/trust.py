"""How far a sweep can be trusted, at a glance: seeds, controls, failures, what is missing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.selection.analysis import Analysis
from orchestrator.selection.controls import control_in_words
from orchestrator.selection.seeds import FEWEST_SEEDS
from trials.arms import CONTROLS, IN_WORDS, NAMES, SEED_SYSTEMS

Standing = Literal["good", "open", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One point of trust.

    Attributes:
        about: what it is about: `Seeds`, `Controls`, `Failures`, `Not run`.
        standing: "good", "open" (nothing was shown either way) or "bad".
        words: what was found, in a few words.
    """

    about: str
    standing: Standing
    words: str


def trust(analysis: Analysis) -> list[dict[str, Any]]:
    """`trust` of summary.json: a row for each point; empty before a trial has finished."""
    return [asdict(mark) for mark in _marks(analysis)] if analysis.finished else []


def _marks(analysis: Analysis) -> Iterator[Mark]:
    yield _seeds(analysis)
    yield _controls(analysis)
    yield _failures(analysis)
    yield _not_run(analysis)


def _seeds(analysis: Analysis) -> Mark:
    best = analysis.recommended
    n = best.n_compared if best else max((a.n for a in analysis.arms), default=0)
    count = f"{n} seed{'' if n == 1 else 's'}"
    if n >= FEWEST_SEEDS:
        return Mark(about="Seeds", standing="good", words=f"{count}: speaks for other seeds too")
    return Mark(
        about="Seeds",
        standing="open",
        words=f"{count}: speaks for these models only, {FEWEST_SEEDS} are needed for others",
    )


def _controls(analysis: Analysis) -> Mark:
    """Which controls the fullest arm beats, by the corrected verdicts."""
    found = {c.b: c.verdict for c in analysis.comparisons if c.family == "against_controls"}
    found = {control: found[control] for control in CONTROLS if control in found}
    groups: dict[str, list[str]] = {
        "beaten": [c for c, verdict in found.items() if verdict == "better"],
        "not beaten": [c for c, verdict in found.items() if verdict in ("worse", "equal")],
        "undecided": [c for c, verdict in found.items() if verdict == "undecided"],
        "not compared": [c for c in CONTROLS if c not in found],
    }
    words = "; ".join(
        f"{state}: {', '.join(map(control_in_words, names))}"
        for state, names in groups.items()
        if names
    )
    standing: Standing = "open"
    if groups["not beaten"]:
        standing = "bad"
    elif len(groups["beaten"]) == len(CONTROLS):
        standing = "good"
    return Mark(about="Controls", standing=standing, words=words)


def _failures(analysis: Analysis) -> Mark:
    total = max(analysis.planned, len(analysis.results))
    left = max(0, analysis.planned - analysis.finished - analysis.failed)
    words = f"{analysis.failed:,} of {total:,} trials failed"
    if left:
        words += f"; {left:,} not finished"
    standing: Standing = "bad" if analysis.failed else "open" if left else "good"
    return Mark(about="Failures", standing=standing, words=words)


def _not_run(analysis: Analysis) -> Mark:
    """Arms and curve that the sweep lacks; controls have a point of their own."""
    present = {arm.arm for arm in analysis.arms}
    missing = [IN_WORDS[a] for a in NAMES if a not in {*present, *CONTROLS, *SEED_SYSTEMS}]
    parts = [", ".join(missing)] if missing else []
    parts += [] if analysis.essential else ["the one-shot curve"]
    if not parts:
        return Mark(about="Not run", standing="good", words="no arm is missing")
    return Mark(about="Not run", standing="open", words="; ".join(parts))
