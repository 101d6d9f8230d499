"""MLflow goes away in the middle of a sweep on Ray and stays away; the next run delivers."""

import threading
from pathlib import Path

import pytest

from orchestrator.commands.status import of_sweep
from orchestrator.driver import driver
from orchestrator.driver.delivery import Undelivered
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.storage.store import Store
from orchestrator.tracking import patience
from orchestrator.tracking.pending import all_notes
from orchestrator.tracking.tracker import Tracker, TrackingAway, open_sweep
from tests.orchestrator.faults.conftest import Proxy, content_of

pytestmark = pytest.mark.slow

SEARCH = "search: {seed: [0, 1]}\n"


@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_whose_server_is_gone_for_good_ends_and_is_delivered_by_the_next_run(
    proxy: Proxy, tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    path = tmp_path / "sweep.yaml"
    text = (
        f"{tiny_text}{SEARCH}tracking: {{uri: '{proxy.url}'}}\nexperiment: gone-{tmp_path.name}\n"
    )
    path.write_text(text + f"storage: {{path: {tmp_path}/store}}\n")
    sweep = load_sweep(path)
    gone = threading.Event()

    def close_at_first_upload(method: str, asked: str) -> None:
        if method == "PUT" and not gone.is_set():
            gone.set()
            threading.Thread(target=proxy.close).start()

    proxy.fault = close_at_first_upload
    with pytest.raises(Undelivered) as told:
        driver.run(sweep)
    said = str(told.value)
    assert "not in MLflow yet" in said
    assert str(tmp_path / "store") in said
    assert "run the same command" in said
    store = Store(sweep.storage.path)
    stored, owed = store.keys(), all_notes(store)
    assert sum(note.kind == "trial" for note in owed.values()) == 2
    stages = len(owed) - 2  # none when the server was gone only after they had been written
    told_of = f"2 trials and {stages} shared stages" if stages else "2 trials"
    assert f"but {told_of} are not in MLflow yet" in said
    with pytest.raises(TrackingAway, match=f"{len(owed)} trials and shared stages are computed"):
        of_sweep(sweep)
    proxy.behave()
    assert of_sweep(sweep)["waiting"] == len(owed)
    finished = driver.run(sweep)
    assert finished.failed == {}
    assert finished.report
    assert store.keys() == stored, "nothing was computed"
    assert all_notes(store) == {}
    address = open_sweep(sweep)
    shown = content_of(Tracker(address))
    assert {run["status"] for run in shown.values()} == {"FINISHED"}
    assert not any("lotus.cached" in run["tags"] for run in shown.values()), "as if undisturbed"
    hits = [run["metrics"]["cache/hits", 0] for run in shown.values() if "lotus.arm" in run["tags"]]
    assert len(hits) == 2
    assert Tracker(address).parent().info.status == "FINISHED"
