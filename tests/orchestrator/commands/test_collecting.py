"""`lotus gc`: nothing that is needed goes, everything else does, whoever works meanwhile."""

import json
import os
import random
import sqlite3
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from orchestrator.commands import alone, collecting
from orchestrator.commands.collecting import GRACE_S, Collected, asker, collect
from orchestrator.planning import pins
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.pins import Pin
from orchestrator.planning.plan import plan
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking.lease import machine
from orchestrator.tracking.tracker import Tracker, open_sweep
from trials.errors import LotusError
from trials.stage import STAGES, Load, Node, Source, StageConfig
from trials.stages.attention import PatchScores

T = TypeVar("T")
Lotus = Callable[..., tuple[int, str, str]]

EVERYTHING_IS_OLD = -1e6
"""A grace period under which nothing is young enough to be spared."""


class Setting(StageConfig):
    """Any setting."""

    number: int = 0


def node(number: int) -> Node[PatchScores]:
    """A call; those of equal parity have equal results, and so one object."""
    inputs = {"data": Source("data", "d")}
    return Node(STAGES["attention"], Setting(number=number), None, inputs, lambda: Load(1e6))


NODES = [node(i) for i in range(6)]
KEYS = [key_of(one) for one in NODES]


def put(store: Store, number: int) -> None:
    """Compute and store one of the nodes."""
    result = PatchScores(*(torch.full((2, 3), float(number % 2)) for _ in range(3)))
    store.put(NODES[number], result, 1.0, "cpu")


def need(store: Store, run_id: str, numbers: set[int], written: float = 1.0) -> None:
    """Pin some of the nodes for a sweep; the first pin is older than every result."""
    keys = tuple(KEYS[i] for i in sorted(numbers))
    pins.write(
        store.files,
        Pin(
            run_id=run_id,
            sweep=f"sweep-{run_id}",
            experiment="e",
            tracking="http://t",
            keys=keys,
            host="h",
            written=written,
        ),
    )


def kept_by_name(one: Pin) -> tuple[bool, str]:
    """In place of MLflow: sweeps whose id starts with k."""
    return one.run_id.startswith("k"), "so it is"


def free(store: Store, grace_s: float = EVERYTHING_IS_OLD, **more: Any) -> Collected:
    """`lotus gc`."""
    return collect(store, kept_by_name, grace_s=grace_s, **more)


def files(store: Store) -> set[str]:
    """Everything in the store."""
    return set(store.files.list())


def present(store: Store) -> set[int]:
    """Which nodes can be got, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {i for i, one in enumerate(NODES) if store.get(one) is not None}


def test_what_a_kept_sweep_needs_stays_and_the_rest_goes(store: Store) -> None:
    need(store, "k1", {0, 1})
    need(store, "k2", {1, 2})
    need(store, "d1", {2, 3})
    for number in range(5):
        put(store, number)
    found = free(store)
    assert present(store) == {0, 1, 2}
    assert found.kept == [("sweep-k1", "so it is"), ("sweep-k2", "so it is")]
    assert found.dropped == [("sweep-d1", "so it is")]
    assert (found.files["index"], found.files["sweeps"]) == (2, 1)
    assert {one.run_id for one in pins.pins(store.files)} == {"k1", "k2"}
    again = free(store)
    assert dict(again.files) == {}


def test_an_object_stays_while_one_entry_names_it(store: Store) -> None:
    need(store, "k", {0})
    put(store, 0)
    put(store, 2)
    free(store)
    assert present(store) == {0}
    need(store, "k", set())
    assert free(store).bytes["attention"] > 0
    assert not [path for path in files(store) if path.startswith(("objects", "index"))]


def test_the_freed_bytes_are_those_that_the_store_shrinks_by(store: Store) -> None:
    need(store, "k", {0})
    for number in range(4):
        put(store, number)
    store.files.write("damaged/x-1", b"12345")
    before = sum(info.bytes for info in store.files.list().values())
    predicted = free(store, dry_run=True)
    assert sum(info.bytes for info in store.files.list().values()) == before
    found = free(store)
    after = sum(info.bytes for info in store.files.list().values())
    assert found.freed_bytes == predicted.freed_bytes == before - after > 0
    assert found.files == predicted.files
    assert found.bytes == predicted.bytes


def test_a_dry_run_writes_nothing_either(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    need(store, "k", {0})
    for number in range(4):
        put(store, number)
    for name in ("write", "remove", "move", "renew"):
        monkeypatch.setattr(store.files, name, lambda *_: pytest.fail("the store was changed"))
    assert free(store, dry_run=True).files["index"] == 3


def test_what_is_young_stays(store: Store) -> None:
    need(store, "k", set())
    need(store, "d", {1})
    put(store, 0)
    store.files.write("unfinished/a.safetensors", b"1")
    store.files.write("damaged/b", b"1")
    store.files.write("pending/d/c.json", b"1")
    before = files(store)
    assert dict(free(store, GRACE_S).files) == {}
    assert files(store) == before


YOUNG = {
    "an object that no entry names yet": f"objects/ab/{'ab' * 32}.safetensors",
    "half an object": f"objects/ab/{'ab' * 32}.safetensors.1.part",
    "a training": f"unfinished/{KEYS[5]}.safetensors",
    "a damaged object": "damaged/b",
    "a note": "pending/d/c.json",
    "a probe": ".probe-abc",
}


@pytest.mark.parametrize("what", YOUNG)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_young_of_every_kind_stays(what: str, dry_run: bool, tmp_path: Path) -> None:
    """As `lotus gc` calls it, with the period of grace that it has by itself."""
    store = Store(str(tmp_path))
    need(store, "k", set())
    need(store, "d", {1})
    path = YOUNG[what]
    store.files.write(path, b"1")
    assert dict(collect(store, kept_by_name, dry_run=dry_run).files) == {}
    assert store.files.info(path) is not None
    for old in (path, "sweeps/d.json"):
        os.utime(tmp_path / old, (time.time() - GRACE_S - 60,) * 2)
    assert sum(collect(store, kept_by_name, dry_run=dry_run).files.values()) == 2
    assert (store.files.info(path) is None) == (not dry_run)


def test_what_was_left_behind_goes(store: Store) -> None:
    need(store, "k", {0, 1})
    need(store, "d", {2})
    put(store, 0)
    stays = {
        f"unfinished/{KEYS[1]}.safetensors",
        f"pending/k/{KEYS[0]}.json",
        "somebody-elses.txt",
    }
    goes = {
        f"unfinished/{KEYS[0]}.safetensors",
        f"unfinished/{KEYS[2]}.safetensors",
        f"pending/d/{KEYS[2]}.json",
        "damaged/abc-1",
        ".probe-abc",
        f"objects/ab/{'ab' * 32}.safetensors.123.part",
        f"index/attention/{KEYS[0]}.json.456.part",
        f"objects/cd/{'cd' * 32}.safetensors",
    }
    for path in stays | goes:
        store.files.write(path, b"1")
    free(store)
    assert stays <= files(store)
    assert not goes & files(store)
    assert present(store) == {0}


def test_a_damaged_entry_goes_unless_it_is_needed(store: Store) -> None:
    need(store, "k", {0})
    for number in (0, 1):
        put(store, number)
        store.files.write(f"index/attention/{KEYS[number]}.json", b"{}")
    free(store)
    assert [path for path in files(store) if path.startswith("index")] == [
        f"index/attention/{KEYS[0]}.json"
    ]


def test_what_is_older_than_the_first_pin_stays_unless_asked(store: Store) -> None:
    put(store, 0)
    with pytest.raises(LotusError, match="no sweep has said yet what it needs"):
        free(store)
    need(store, "k", {2}, written=time.time() + 1)
    found = free(store)
    assert found.before_pins == 1
    assert present(store) == {0}
    assert free(store, old=True).files["index"] == 1
    assert present(store) == set()


def test_a_damaged_pin_stops_it_before_anything_is_removed(store: Store) -> None:
    need(store, "k", {0})
    put(store, 1)
    store.files.write("sweeps/other.json", b"{}")
    before = files(store)
    with pytest.raises(pins.PinError, match="other"):
        free(store)
    assert files(store) == before


def test_what_a_collector_that_died_took_away_is_put_back(store: Store) -> None:
    need(store, "k", {0, 1})
    put(store, 0)
    put(store, 1)
    for number, path in enumerate(sorted(p for p in files(store) if p[:5] in ("objec", "index"))):
        store.files.move(path, f"removed/dead{number % 2}/{path}")
    assert store.keys() == set()
    free(store)
    assert present(store) == {0, 1}
    assert not [path for path in files(store) if path.startswith("removed")]


def test_a_fault_in_the_middle_puts_everything_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(store, "k", set())
    put(store, 0)
    before = files(store)
    real, calls = pins.pins, []

    def fails_the_second_time(where: Any) -> list[Pin]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(where)

    monkeypatch.setattr(collecting, "pins", fails_the_second_time)
    with pytest.raises(KeyboardInterrupt):
        free(store)
    assert files(store) == before


def free_or_refuse(store: Store) -> None:
    """A collector beside another one may refuse."""
    with suppress(LotusError):
        free(store)


def test_a_second_collector_refuses_and_removes_nothing(store: Store) -> None:
    need(store, "k", set())
    put(store, 0)

    def meanwhile(one: Pin) -> tuple[bool, str]:
        with pytest.raises(LotusError, match="another `lotus gc` works on this store"):
            free(Store(store.url))
        return kept_by_name(one)

    found = collect(store, meanwhile, grace_s=EVERYTHING_IS_OLD)
    assert found.files["index"] == 1
    assert not [path for path in files(store) if path.startswith("removed")]


@pytest.mark.parametrize(
    "mark",
    [
        {"machine": machine(), "pid": 2**22 + 1, "born": "1"},
        {"machine": machine(), "pid": os.getpid(), "born": "another process's"},
        {"machine": "other", "pid": 1, "born": "1"},
        {"host": "of an earlier version", "pid": 1},
    ],
    ids=["gone", "its number is taken", "elsewhere", "earlier version"],
)
def test_a_collector_that_died_stops_nobody(
    mark: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once where its process is seen to be gone, after a while where that cannot be seen."""
    need(store, "k", set())
    store.files.write("removed/x/collector.json", json.dumps(mark).encode())
    if mark.get("machine") != machine():
        with pytest.raises(LotusError, match="another"):
            free(store)
        monkeypatch.setattr(alone, "DEAD_S", -1e6)
    free(store)
    assert not [path for path in files(store) if path.startswith("removed")]


class Turns:
    """Lets several threads touch a store one at a time, in an order that is given."""

    def __init__(self, order: Sequence[int], count: int) -> None:
        self.order, self.alive = list(order), set(range(count))
        self.ready = threading.Condition()
        self.problems: list[BaseException] = []

    def next(self) -> int:
        """Whose turn it is."""
        while self.order and self.order[0] not in self.alive:
            self.order.pop(0)
        return self.order[0] if self.order else min(self.alive)

    def step(self, me: int, act: Callable[[], T]) -> T:
        """One act on the store, in turn."""
        with self.ready:
            assert self.ready.wait_for(lambda: self.next() == me, timeout=300)
            if self.order:
                self.order.pop(0)
            try:
                return act()
            finally:
                self.ready.notify_all()

    def run(self, works: list[tuple[Store, Callable[[Store], None]]]) -> None:
        """Each work on its own store object, in a thread of its own."""

        def run(me: int, store: Store, work: Callable[[Store], None]) -> None:
            store.files._patiently = lambda act, what: self.step(me, act)  # type: ignore[method-assign]
            try:
                work(store)
            except BaseException as error:
                self.problems.append(error)
            finally:
                with self.ready:
                    self.alive.discard(me)
                    self.ready.notify_all()

        threads = [
            threading.Thread(target=run, args=(me, store, work))
            for me, (store, work) in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.problems == []


@contextmanager
def in_memory() -> Iterator[str]:
    """The URL of an empty store in memory, gone afterwards."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    store = Store(url)
    if store.fs.exists(store.root):
        store.fs.rm(store.root, recursive=True)


NUMBERS = st.sets(st.integers(0, len(NODES) - 1))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    stored=NUMBERS,
    kept=NUMBERS,
    dropped=NUMBERS,
    needed=NUMBERS,
    seed=st.integers(0, 2**32),
    burst=st.sampled_from([1, 3, 8]),
    collectors=st.integers(1, 2),
)
def test_nothing_that_is_needed_is_removed_whatever_the_interleaving(
    stored: set[int],
    kept: set[int],
    dropped: set[int],
    needed: set[int],
    seed: int,
    burst: int,
    collectors: int,
) -> None:
    """A sweep begins while one or two collectors run; every file operation may come in between."""
    draw = random.Random(seed)
    order = [who for _ in range(400) for who in [draw.randint(0, 2)] * draw.randint(1, burst)]

    def sweep(store: Store) -> None:
        need(store, "k-new", needed, written=2.0)
        known = store.keys()
        for number in needed:
            if KEYS[number] not in known:
                put(store, number)

    with in_memory() as url:
        store = Store(url)
        need(store, "k-old", kept)
        need(store, "d", dropped)
        for number in stored:
            put(store, number)
        work = [sweep, *[free_or_refuse] * collectors]
        Turns(order, len(work)).run([(Store(url), one) for one in work])
        listed = store.files.list()
        assert not [path for path in listed if path.startswith("removed")]
        assert all(collecting.object_path(e.object) in listed for e in store.entries())
        assert present(store) >= (kept & stored) | needed
        free(store)
        assert present(store) == (kept & stored) | needed


@settings(max_examples=60, deadline=None)
@given(ages=st.lists(st.floats(0, 7200), min_size=6, max_size=6), grace=st.floats(1, 7000))
def test_nothing_younger_than_the_grace_period_is_removed(ages: list[float], grace: float) -> None:
    with in_memory() as url:
        store = Store(url)
        need(store, "k", set())
        for number in range(len(NODES)):
            put(store, number)
        now = time.time()
        paths = {path: i for i, path in enumerate(sorted(store.files.list("index")))}
        for path, i in paths.items():
            file = store.fs.store["/" + store.files.full(path).strip("/")]
            file.created = file.modified = type(file.created).fromtimestamp(
                now - ages[i], tz=file.created.tzinfo
            )
        free(store, grace)
        left = {paths[path] for path in store.files.list("index")}
        assert left >= {i for i, age in enumerate(ages) if age < grace - 1}
        assert not left & {i for i, age in enumerate(ages) if age > grace + 60}


def test_a_sweep_that_runs_meanwhile_loses_nothing(store: Store) -> None:
    """With the real grace period and without turns: no warning, no recomputation."""
    need(store, "k", {0, 1, 2})
    over = threading.Event()
    problems: list[BaseException] = []

    def collects() -> None:
        try:
            while not over.is_set():
                free(Store(store.url), GRACE_S)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=collects)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(3):
                for number in (0, 1, 2):
                    put(store, number)
                    assert store.get(NODES[number]) is not None
    finally:
        over.set()
        thread.join()
    assert problems == []
    assert present(store) == {0, 1, 2}


def test_a_sweep_is_kept_while_its_run_exists(tracked: SweepConfig) -> None:
    address = open_sweep(tracked)
    store = Store(tracked.storage.path)
    made = pins.pin(store, plan(tracked), address.parent)
    assert asker([])(made) == (True, "its run exists")
    client = Tracker(address).client
    client.delete_run(address.parent)
    assert asker([])(made) == (False, "its run is deleted")
    MlflowClient(address.uri).restore_run(address.parent)
    assert asker([])(made)[0]


def aged(store: Store) -> None:
    """Everything is past the period of grace."""
    for path in store.files.list():
        os.utime(store.files.full(path), (time.time() - 2 * GRACE_S,) * 2)


@pytest.mark.parametrize("how", ["restored from a copy", "made anew"])
def test_results_of_a_sweep_that_its_database_has_lost_are_kept_counted_and_said(
    how: str, tiny: Callable[..., SweepConfig], lotus: Lotus, tmp_path: Path
) -> None:
    sweep, file = tiny(), str(tmp_path / "sweep.yaml")
    database = tmp_path / "mlflow.db"
    open_sweep(tiny("", "name=other"))
    with (
        closing(sqlite3.connect(database)) as opened,
        closing(sqlite3.connect(tmp_path / "yesterday.db")) as copy,
    ):
        opened.backup(copy)
    address, store = open_sweep(sweep), Store(sweep.storage.path)
    assert address is not None
    made = Pin(
        run_id=address.parent,
        sweep=sweep.name,
        experiment=sweep.experiment_name,
        tracking=sweep.tracking.uri,
        keys=(KEYS[0],),
        host="h",
        written=1.0,
    )
    pins.write(store.files, made)
    put(store, 0)
    aged(store)
    MlflowClient(address.uri)._tracking_client.store._dispose_engine()
    for left in tmp_path.glob("mlflow.db*"):
        left.unlink(missing_ok=True)  # a log goes when its last reader goes
    if how == "restored from a copy":
        (tmp_path / "yesterday.db").rename(database)
    else:
        assert open_sweep(tiny("", "name=other")) is not None
    before = files(store)
    code, out, _ = lotus("gc", file)
    assert code == 0
    assert "kept     tiny: its tracking store does not know its run" in out
    assert "1 of 1 kept sweeps are unknown to MLflow" in out
    assert "`lotus gc --force` frees their results" in out
    assert files(store) == before
    found = json.loads(lotus("gc", file, "--dry-run", "--json")[1])
    assert (found["unknown"], found["freed_bytes"]) == (["tiny"], 0)
    code, out, _ = lotus("gc", file, "--force")
    assert code == 0
    assert "dropped  tiny: its tracking store does not know its run, and --force was given" in out
    assert present(store) == set()


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:////nowhere/mlflow.db", "/nowhere/mlflow.db does not exist here"),
        ("http://127.0.0.1:9", "cannot be asked"),
        ("postgresql://me:pw@127.0.0.1:9/x", "needs a password"),
    ],
)
def test_a_sweep_whose_tracking_cannot_be_asked_is_kept(
    tiny: Callable[..., SweepConfig], uri: str, reason: str
) -> None:
    sweep = tiny(f"tracking: {{uri: '{uri}'}}\n")
    made = pins.pin(Store(sweep.storage.path), plan(sweep), "r")
    stays, why = asker([])(made)
    assert stays
    assert reason in why


def test_a_password_that_is_known_is_used_to_ask(tiny: Callable[..., SweepConfig]) -> None:
    uri = "postgresql://me:pw123456@127.0.0.1:9/x"
    sweep = tiny(f"tracking: {{uri: '{uri}'}}\n")
    made = pins.pin(Store(sweep.storage.path), plan(sweep), "r")
    stays, why = asker([uri])(made)
    assert stays
    assert "cannot be asked" in why
    assert "pw123456" not in why


def test_gc_from_the_command_line(
    tracked: SweepConfig, lotus: Lotus, database: str, tmp_path: Any
) -> None:
    path = str(tmp_path / "sweep.yaml")
    code, _, error = lotus("gc", path)
    assert (code, "no sweep has said yet" in error) == (1, True)
    address = open_sweep(tracked)
    store = Store(tracked.storage.path)
    pins.pin(store, plan(tracked), address.parent)
    store.files.write("damaged/x", b"12345678")
    old = time.time() - 2 * GRACE_S
    os.utime(store.files.full("damaged/x"), (old, old))
    code, out, _ = lotus("gc", path, "--dry-run", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["dry_run"]
    assert found["bytes"] == {"damaged": 8}
    assert found["sweeps"] == [{"sweep": "tiny", "kept": True, "reason": "its run exists"}]
    assert lotus("gc", "--store", store.url)[:2] == (
        0,
        "  kept     tiny: its run exists\n  freed 0.0 MiB of damaged (1 files)\nfreed 0.0 MiB\n",
    )
    assert store.files.info("damaged/x") is None


def test_gc_and_doctor_work_on_s3(tiny: Callable[..., SweepConfig], lotus: Lotus, s3: str) -> None:
    from orchestrator.commands.doctor import _store

    store = Store(s3)
    need(store, "k", {0})
    sweep = tiny("", f"storage.path={s3}")
    assert _store(sweep).startswith(f"{s3} is writable")
    code, out, _ = lotus("gc", "--store", s3, "--json")
    assert code == 0
    assert json.loads(out)["sweeps"][0]["kept"]
