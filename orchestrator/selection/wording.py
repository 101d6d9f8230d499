"""The recommendation in words, shared by all screens."""

from orchestrator.selection.recommendation import Recommended
from orchestrator.selection.scopes import THESE_MODELS
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.verdicts import between, percent, points_of


def in_words(best: Recommended) -> str:
    """What the setting costs in accuracy, and how sure that is."""
    if best.difference is None:
        return "Its accuracy on test was not compared with dense."
    tuned = best.reference == "fine_tuned"
    source = "dense with equal fine-tuning" if tuned else "dense before fine-tuning"
    size = f"{abs(100 * best.difference):.1f}"
    points = f"{size} point{'' if size == '1.0' else 's'}"
    start = "It differs from dense by less than 0.1 points" if size == "0.0" else (
        f"It {'loses' if best.difference < 0 else 'gains'} {points}"
    )  # fmt: skip
    models = _limits(best.models_low, best.models_high, "unknown (too few images)")
    few = f"unknown (n = {best.n_compared})" if best.scope == THESE_MODELS else "unknown (too wide)"
    seeds = _limits(best.seeds_low, best.seeds_high, few)
    tolerated = points_of(best.tolerance)
    conclusion = {
        "shown": f"Shown to be within {tolerated} of dense",
        "exceeded": f"Shown to lose more than {tolerated}",
        "not shown": f"Not shown to be within {tolerated} of dense",
    }[best.verdict]
    return (
        f"{start} on test: {percent(best.test_accuracy)} against "
        f"{percent(best.dense_test_accuracy)} for {source} "
        f"({_seeds(best)}). "
        f"{100 * best.confidence:g} % intervals: these models {models}; other seeds {seeds}. "
        f"{conclusion} ({best.scope})."
    )


def to_be_surer(best: Recommended) -> str:
    """What would decide what is still open about the setting, or that nothing is."""
    steps = []
    if best.difference is None:
        steps.append("a test accuracy of the setting and of dense would say what it costs")
    elif best.would_show:
        within = f"whether it is within {points_of(best.tolerance)} of dense"
        steps.append(f"{best.would_show} {within}")
    if best.scope == THESE_MODELS:
        steps.append(
            f"{FEWEST_SEEDS} seeds (now {best.n_compared}) would say something about other seeds"
        )
    if best.reference == "before_fine_tuning":
        steps.append("the dense arm would show what equal fine-tuning gives the dense model")
    if not steps:
        return f"Nothing is left to decide at a tolerance of {points_of(best.tolerance)}."
    text = "; ".join(steps)
    return f"{text[0].upper()}{text[1:]}."


def _seeds(best: Recommended) -> str:
    text = f"mean of {best.n} seed{'' if best.n == 1 else 's'}"
    fewer = f"; the difference is that of {best.n_compared}, which both have"
    return text + (fewer if best.n_compared < best.n else "")


def _limits(low: float | None, high: float | None, otherwise: str) -> str:
    if low is None or high is None:
        return otherwise
    return between(low, high)
