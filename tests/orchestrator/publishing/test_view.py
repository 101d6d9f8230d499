"""The prepared view: what it holds, when it is written, and what MLflow's own UI makes of it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from orchestrator.planning.config import SweepConfig
from orchestrator.publishing.view import RESULTS, prepare_view, trials_filter, varied, view_of
from orchestrator.tracking.pages import trials_page
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import Tracker, open_sweep
from tests.chromium import PROGRAM, Chromium, browser
from tests.orchestrator.programs import Program, free_port

TRIALS = [f"lotus-s0.{level}0-d0.10-f0.10-seed{seed}" for level in (3, 5, 7) for seed in (0, 1)]

Tiny = Callable[..., SweepConfig]


def runs_of(tracker: Tracker, names: list[str], kind: Any, **tags: str) -> None:
    """Finished runs with an accuracy, as trials and stages leave them."""
    for place, name in enumerate(names):
        key = f"{kind}-{name}".ljust(64, "0")
        log = tracker.start(Identity(key, kind, name, tags), fresh=True)
        log.metrics({"final/deployed_val_accuracy": place / 10, "final/macs_deployed": 1e6})
        log.flush({"sparsity": name[7:11], "seed": name[-1]})
        log.finish()


@pytest.fixture
def tracker(tracked: SweepConfig) -> Tracker:
    """A sweep of six trials, with stages, a trial that is not asked for, and a second sweep."""
    made = Tracker(open_sweep(tracked))
    runs_of(made, TRIALS, "trial")
    runs_of(made, ["stage-dense-seed0-1b2c3d4e"], "stage")
    runs_of(made, ["lotus-s0.90-d0.10-f0.10-seed0"], "trial", **{"lotus.superseded": "true"})
    other = Tracker(open_sweep(tracked.model_copy(update={"name": "other"})))
    runs_of(other, ["dense-seed0"], "trial")
    return made


def test_the_filter_finds_exactly_the_trials_of_the_sweep(tracker: Tracker) -> None:
    where = tracker.address
    found = MlflowClient(where.uri).search_runs([where.experiment_id], trials_filter(where.parent))
    assert sorted(run.info.run_name for run in found) == TRIALS


def test_only_axes_that_vary_have_a_column(tiny: Tiny) -> None:
    sweep = tiny(
        "search: {method: random, samples: 3, sparsity: {low: 0.1, high: 0.5}, seed: [0, 1], "
        "issp.merge: [vote_topk, union_kept]}\n"
    )
    assert varied(sweep) == ["sparsity", "seed", "issp.merge"]
    view = view_of(sweep, "p" * 32)
    axes = ["params.`sparsity`", "params.`seed`", "params.`issp.merge`"]
    results = [f"metrics.`{name}`" for name in RESULTS]
    assert view["selectedColumns"] == [*results, *axes]
    assert view["columnOrder"] == ["attributes.`Run Name`", *results, *axes]
    assert view["columnWidths"].keys() == set(view["columnOrder"])
    assert (view["orderByKey"], view["orderByAsc"]) == (results[0], False)


def test_a_view_that_is_up_to_date_takes_no_request(
    tracked: SweepConfig, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_view(tracked, tracker, {})
    where = tracker.address
    tags = tracker.client.get_experiment(where.experiment_id).tags
    state = json.loads(tags[f"mlflow.sharedViewState.{where.parent}"])
    assert state == view_of(tracked, where.parent)
    known = tracker.parent().data.tags
    monkeypatch.setattr(tracker, "client", None)
    prepare_view(tracked, tracker, known)  # would fail on any request
    raw = tracked.model_dump() | {"search": [{"seed": [0, 1]}]}
    grown = SweepConfig.model_validate(raw)
    with pytest.raises(AttributeError):
        prepare_view(grown, tracker, known)


def test_mlflows_own_page_reads_these_fields(tiny: Tiny) -> None:
    """Without a browser: their names stand in the scripts of the MLflow that is installed."""
    scripts = Path(mlflow.__file__).parent / "server/js/build/static/js"
    (main,) = scripts.glob("main.*.js")
    text = main.read_text("utf-8")
    assert "viewStateShareKey" in text
    assert '"mlflow.sharedViewState."' in text
    pages = text + "".join(path.read_text("utf-8") for path in scripts.glob("*.chunk.js"))
    for name in view_of(tiny(), "p"):
        assert f'"{name}"' in pages, name


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("no chromium on this machine")
    with browser(tmp_path / "profile") as running:
        yield running


NAMES = "[...document.querySelectorAll('.ag-cell[col-id*=\"Run Name\"] a')].map(a => a.innerText)"


def listed(chromium: Chromium, page: str, count: int) -> list[str]:
    """The names of runs on a page, once there are enough, or after a minute."""
    chromium.size(1400)
    chromium.ask("Page.navigate", url=page)
    end = time.monotonic() + 60
    found: list[str] = []
    while len(found) < count and time.monotonic() < end:
        time.sleep(0.5)
        found = chromium.run(NAMES)
    time.sleep(1)  # for rows that should not come
    return list(chromium.run(NAMES))


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.xdist_group("chromium")
def test_the_link_lists_exactly_the_trials_in_mlflows_own_ui(
    tracked: SweepConfig, tracker: Tracker, chromium: Chromium, tmp_path: Path
) -> None:
    prepare_view(tracked, tracker, {})
    where, port = tracker.address, free_port()
    program = Program.start(
        tmp_path / "log", "ui", "--tracking-uri", where.uri, "--port", str(port)
    )
    try:
        program.until(lambda: "MLflow UI on" in program.said)
        page = trials_page(f"http://127.0.0.1:{port}", where.experiment_id, where.parent)
        assert sorted(listed(chromium, page, len(TRIALS))) == TRIALS
        shown = chromium.run("document.body.innerText")
    finally:
        os.kill(program.process.pid, signal.SIGINT)  # so that it ends its server
        program.wait(60)
    assert "final/deployed_val_accuracy" in shown
    assert f"{len(TRIALS)} matching runs" in shown
    assert "Model training" in shown
