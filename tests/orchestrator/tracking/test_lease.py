"""One driver per sweep, whatever clocks and machines do."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking.lease import Holder, Lease, LeaseError, RunTag, Timing, born, machine
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.vocabulary import Tag

FAST = Timing(beat_s=0.05, gone_s=0.6, settle_s=0.02)
PATIENT = replace(FAST, gone_s=60)
"""For a holder that must not count as gone because this machine is busy."""


class Note:
    """A note in memory."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        self.text = text

    def clear(self) -> None:
        self.text = None


def later(note: Note, than: int) -> Holder:
    """The note as soon as it has been renewed."""
    deadline = time.monotonic() + 30
    while (found := Holder.of_text(note.text)) is None or found.beat <= than:
        assert time.monotonic() < deadline, "no beat any more"
        time.sleep(0.01)
    return found


def holder(**changes: object) -> Holder:
    """Somebody on another machine."""
    far = replace(Holder.here(), id="far", host="far", machine="elsewhere", pid=7, born="3")
    return replace(far, **changes)  # type: ignore[arg-type]


def test_a_lease_is_noted_renewed_and_given_back() -> None:
    note = Note()
    with Lease(note, timing=replace(FAST, beat_s=0.5)) as lease:
        first = Holder.of_text(note.text)
        assert first is not None
        assert (first.pid, first.host) == (os.getpid(), Holder.here().host)
        assert later(note, first.beat).id == first.id
        assert lease.held
    assert note.text is None
    assert not lease.held


def test_a_second_driver_is_refused_at_once_and_told_who_works() -> None:
    note = Note()
    with Lease(note, timing=FAST):
        start = time.monotonic()
        with pytest.raises(LeaseError) as refused:
            Lease(note, timing=Timing(beat_s=5, gone_s=60, settle_s=0.01)).acquire()
        assert time.monotonic() - start < 20
        assert f"process {os.getpid()} on {Holder.here().host} works on this sweep" in str(
            refused.value
        )
    Lease(note, timing=FAST).acquire()


def test_a_process_of_this_machine_that_is_gone_is_followed_at_once() -> None:
    done = subprocess.Popen([sys.executable, "-c", "pass"])
    gone = replace(Holder.here(), id="gone", pid=done.pid, born=born(done.pid) or "1")
    done.wait()
    assert gone.ended is True
    start = time.monotonic()
    with Lease(Note(gone.text()), timing=Timing(beat_s=5, gone_s=60, settle_s=0.01)):
        assert time.monotonic() - start < 30


def test_a_process_number_used_again_is_another_process() -> None:
    assert replace(Holder.here(), id="x", pid=os.getppid(), born="1").ended is True
    assert replace(Holder.here(), id="x", pid=os.getppid(), born=born(os.getppid())).ended is False
    assert replace(Holder.here(), id="left over").ended is True, "of this process, not released"
    assert holder().ended is None
    assert machine()


def test_a_silent_driver_elsewhere_is_waited_for_and_then_followed() -> None:
    said: list[str] = []
    start = time.monotonic()
    with Lease(Note(holder().text()), say=said.append, timing=FAST):
        assert FAST.gone_s <= time.monotonic() - start < 60
    assert len(said) == 1
    assert "process 7 on far worked on this sweep and was last seen at" in said[0]


def test_a_living_driver_elsewhere_is_seen_by_its_counter_and_not_by_clocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = Note(holder(seen="1999-01-01 00:00:00").text())
    monkeypatch.setattr(time, "time", lambda: 0.0)

    done = threading.Event()

    def beat() -> None:
        number = 0
        while not done.wait(0.2):
            number += 1
            note.text = holder(beat=number, seen="1999-01-01 00:00:00").text()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(LeaseError, match="process 7 on far works on this sweep"):
            Lease(note, timing=PATIENT).acquire()
    finally:
        done.set()
        thread.join()


def test_of_two_that_write_at_once_one_remains() -> None:
    note, results = Note(), []
    slow = Timing(beat_s=5, gone_s=60, settle_s=0.3)
    both_read, both_written = threading.Barrier(2), threading.Barrier(2)

    class Racing(Note):
        reads = writes = 0

        def read(self) -> str | None:
            found = note.read()
            if self.reads == 0:
                both_read.wait()
            self.reads += 1
            return found

        def write(self, text: str) -> None:
            note.write(text)
            if self.writes == 0:
                both_written.wait()
            self.writes += 1

    def take() -> None:
        try:
            Lease(Racing(), timing=slow).acquire()
            results.append("held")
        except LeaseError:
            results.append("refused")

    threads = [threading.Thread(target=take) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(results) == ["held", "refused"]


def test_a_driver_whose_lease_was_taken_over_is_told_and_touches_the_note_no_more() -> None:
    note, lost, taken = Note(), [], holder().text()
    told = threading.Event()

    def stop(reason: str) -> None:
        lost.append(reason)
        told.set()

    with Lease(note, lost=stop, timing=FAST) as lease:
        deadline = time.monotonic() + 60
        note.text = taken
        while not told.wait(1):
            assert time.monotonic() < deadline, "nobody is told"
            note.text = taken  # the first one came between a look and the renewal after it
        assert not lease.held
    assert note.text == taken
    assert lost == ["process 7 on far has taken this sweep over; this one stops"]


def test_a_store_that_is_away_for_some_beats_costs_no_lease() -> None:
    class Flaky(Note):
        away = False

        def read(self) -> str | None:
            if self.away:
                raise ConnectionError
            return super().read()

    note, lost = Flaky(), []
    with Lease(note, lost=lost.append, timing=FAST):
        note.away = True
        time.sleep(0.2)
        note.away = False
        before = Holder.of_text(note.text)
        assert before is not None
        later(note, before.beat)
        note.away = True
    assert lost == []


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "nonsense", '{"id": "x"}'])
def test_a_note_that_is_none_of_ours_is_replaced(text: str) -> None:
    note = Note(text)
    with Lease(note, timing=FAST):
        ours = Holder.of_text(note.text)
        assert ours is not None
        assert ours.pid == os.getpid()


def test_the_note_stands_on_the_sweeps_own_run(tracked: SweepConfig) -> None:
    address = open_sweep(tracked)
    tracker = Tracker(address)
    note = RunTag(tracker.client, address.parent)
    assert note.read() is None
    with Lease(note):
        stands = json.loads(tracker.parent().data.tags[Tag.DRIVER])
        assert stands["pid"] == os.getpid()
        with pytest.raises(LeaseError):
            Lease(RunTag(tracker.client, address.parent)).acquire()
    assert note.read() is None
