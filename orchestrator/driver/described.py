"""The sweep's own run, brought up to date with the sweep file before anything is made."""

from collections.abc import Sequence
from typing import Any

from orchestrator.driver.state import State
from orchestrator.planning.sweepfile import resolved_yaml
from orchestrator.publishing.notes import begun_note
from orchestrator.publishing.view import prepare_view
from orchestrator.secrets import redacted
from orchestrator.vocabulary import Tag


def describe(state: State) -> None:
    """Axes as tags, what the file holds, superseded trials marked."""
    sweep, tracker = state.plan.sweep, state.tracker
    tags = {Tag.AXIS + name: _listed(values) for name, values in sweep.axes.items()}
    tags[Tag.TRIALS_PLANNED] = str(state.plan.expected)
    tags[Tag.STORAGE] = redacted(sweep.storage.path)
    tags[Tag.SWEEP_YAML] = resolved_yaml(sweep)
    known = tracker.parent().data.tags
    if Tag.NOTE not in known:
        tags[Tag.NOTE] = begun_note(sweep.name, state.plan.expected, tracker.address)
    if any(known.get(name) != value[:5000] for name, value in tags.items()):
        tracker.sweep_log().flush(tags=tags)
    prepare_view(sweep, tracker, known)
    for name in known.keys() - tags.keys():
        if name.startswith(Tag.AXIS):  # the file has it no more
            tracker.ask(lambda name=name: tracker.client.delete_tag(tracker.address.parent, name))  # type: ignore[misc]
    for key, child in state.children.items():
        if key not in state.plan.keys and not state.plan.complete:
            continue  # later results may call for it yet
        if key not in state.plan.keys and child.tags.get(Tag.SUPERSEDED) != "true":
            tracker.client.set_tag(child.run_id, Tag.SUPERSEDED, "true")
        elif key in state.plan.keys and Tag.SUPERSEDED in child.tags:
            # Removed, not made false: MLflow cannot be asked for "absent or false".
            tracker.client.delete_tag(child.run_id, Tag.SUPERSEDED)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)
