"""How far a process has come, on its way to the driver."""

import json
import threading
import time

from orchestrator.driver.hearing import EVERY_S, SHARE, Hearing
from orchestrator.driver.watcher import Watcher
from orchestrator.worker.telling import Teller, note_of


def test_a_training_never_waits_for_who_hears_of_it() -> None:
    held, put = threading.Event(), []

    def slow(note: str) -> None:
        held.wait(10)
        put.append(note)

    teller, start = Teller(slow), time.monotonic()
    for epoch in range(1000):
        teller.tell("item", "stage", epoch / 1000)
    assert time.monotonic() - start < 5
    assert put == []
    held.set()
    deadline = time.monotonic() + 20
    while not any(json.loads(note)[2] == 0.999 for note in put) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(put[-1])[:3] == ["item", "stage", 0.999], "the newest arrives"
    assert len(put) <= 3, "and not all of them"


def test_a_note_that_cannot_be_passed_on_is_no_error() -> None:
    tried: list[str] = []

    def broken(note: str) -> None:
        tried.append(note)
        raise ConnectionError("the head node does not answer")

    teller = Teller(broken)
    teller.tell("item", "stage", 0.5)
    deadline = time.monotonic() + 20
    while not tried and time.monotonic() < deadline:
        time.sleep(0.05)
    teller.tell("item", "stage", 0.6)
    while len(tried) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(tried) == 2, "it goes on telling"


def test_what_is_no_note_is_none() -> None:
    assert note_of('["a", "b", 0.5, 7]') == ("a", "b", 0.5, 7.0)
    assert all(note_of(text) is None for text in ("", "[]", '["a", "b", "x", 1]', "{}", "1"))


class Came(Watcher):
    """Keeps what came."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, float, float]] = []

    def came(self, item: str, stage: str, fraction: float, at: float) -> None:
        self.notes.append((item, stage, fraction, at))


def test_the_driver_hears_each_note_once_and_looks_seldom_where_that_takes_long() -> None:
    clock, cost, looks = [0.0], [0.0], [0]
    hung = {"p1": '["a", "s", 0.5, 1.0]', "p2": "no note"}

    def read() -> dict[str, str]:
        looks[0] += 1
        clock[0] += cost[0]
        return hung

    heard = Came()
    hearing = Hearing(read, heard, now=lambda: clock[0])
    hearing.look()
    hearing.look()
    assert looks == [1]
    clock[0] += EVERY_S
    hearing.look()
    assert heard.notes == [("a", "s", 0.5, 1.0)]
    hung["p1"], cost[0] = '["a", "s", 0.75, 2.0]', 1.0
    clock[0] += EVERY_S
    hearing.look()
    assert heard.notes[-1] == ("a", "s", 0.75, 2.0)
    clock[0] += SHARE - 0.5
    hearing.look()
    assert looks == [3]
    clock[0] += 0.5
    hearing.look()
    assert looks == [4]


def test_a_board_that_cannot_be_read_ends_nothing() -> None:
    def read() -> dict[str, str]:
        asked.append(True)
        raise RuntimeError("GCS is gone")

    asked: list[bool] = []
    Hearing(read, Watcher()).look()
    assert asked, "it was read, and what that raised went no further"
