"""What a sweep is predicted to take, noted on its run before it begins."""

from collections.abc import Set

from orchestrator.driver.state import State
from orchestrator.planning.forecasting import predicted_hours
from orchestrator.planning.speeds import Speeds
from orchestrator.reading.spent import device_hours
from orchestrator.vocabulary import Tag


def note_prediction(state: State, speeds: Speeds, stored: Set[str], *, concluded: bool) -> None:
    """Note the device-hours of the whole sweep: what it has taken so far, and a prediction.

    The prediction is that of `lotus plan`. A run that goes on after an interruption leaves the
    note as it is; a sweep that had ended and has grown gets a new one.

    Args:
        stored: keys that the store has.
        concluded: whether the run before this one came to its end.
    """
    tracker = state.tracker
    if not concluded and Tag.PREDICTED_HOURS in tracker.parent().data.tags:
        return
    told = (
        (child.tags, child.metrics)
        for key, child in state.children.items()
        if key in state.plan.keys and child.status == "FINISHED"
    )
    spent, _ = device_hours(told, state.plan.sweep)
    hours = spent + predicted_hours(state.plan, speeds, stored, state.finished)
    tracker.sweep_log().flush(tags={Tag.PREDICTED_HOURS: f"{hours:.6g}"})
