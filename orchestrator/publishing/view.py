"""The prepared view of a sweep in the MLflow UI: its trials alone, best first, in useful columns.

MLflow's button "Share" keeps a view as a tag of the experiment, and a link names the tag. This
writes such a tag. Its value is the state of MLflow's own page as JSON, with columns named
``params.`arm` ``. The UI takes what it knows of it, so a version that has other fields shows the
same runs in other columns. A test opens the link in the version of MLflow that is installed.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from orchestrator.planning.config import SweepConfig
from orchestrator.search.space import Range
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import ExperimentTag, Metric, Tag

NAME_PX = 250
"""Enough for `lotus-s0.30-d0.10-f0.10-seed0`."""

MOST_AXES = 12
"""More columns of axes nobody reads, and a tag of MLflow holds 5,000 characters."""

AXIS_PX = 150
FURTHER_PX = 200

RESULTS = {
    Metric.FINAL_DEPLOYED_VAL_ACCURACY: 225,
    Metric.FINAL_DEPLOYED_TEST_ACCURACY: 230,
    Metric.FINAL_MACS_DEPLOYED: 190,
    Metric.FINAL_SPARSITY: 130,
}
"""Metrics that are shown, and how wide: their names stand above them."""

SORTED_BY = Metric.FINAL_DEPLOYED_VAL_ACCURACY


def trials_filter(parent: str) -> str:
    """What the search field holds: the trials of a sweep that its file asks for."""
    return (
        f"tags.`{Tag.KIND}` = 'trial' and tags.`{Tag.SWEEP}` = '{parent}' "
        f"and tags.`{Tag.SUPERSEDED}` is null"
    )


def view_of(sweep: SweepConfig, parent: str) -> dict[str, Any]:
    """The state of the page. An axis with a single value gets no column.

    Args:
        parent: run id of the sweep.
    """
    widths = {_column("attributes", "Run Name"): NAME_PX}
    widths |= {_column("metrics", name): width for name, width in RESULTS.items()}
    for name in varied(sweep)[:MOST_AXES]:
        widths[_column("params", name)] = FURTHER_PX if "." in name else AXIS_PX
    return {
        "searchFilter": trials_filter(parent),
        "orderByKey": _column("metrics", SORTED_BY),
        "orderByAsc": False,
        "selectedColumns": [column for column in widths if not column.startswith("attributes")],
        "columnOrder": list(widths),
        "columnWidths": widths,
    }


def prepare_view(sweep: SweepConfig, tracker: Tracker, known: Mapping[str, str]) -> None:
    """Bring the view of a sweep up to date; one that is takes no request.

    Args:
        known: tags of the sweep's run.
    """
    where = tracker.address
    text = json.dumps(view_of(sweep, where.parent))
    digest = sha256(text.encode()).hexdigest()[:16]
    if known.get(Tag.VIEW) == digest:
        return
    tag = ExperimentTag.VIEW + where.parent
    tracker.ask(lambda: tracker.client.set_experiment_tag(where.experiment_id, tag, text))
    tracker.sweep_log().flush(tags={Tag.VIEW: digest})


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def varied(sweep: SweepConfig) -> list[str]:
    """The axes on which trials of a sweep differ."""
    ranges = {
        name
        for block in sweep.search
        for name, values in block.space().items()
        if isinstance(values, Range)
    }
    return [name for name, values in sweep.axes.items() if len(values) > 1 or name in ranges]
