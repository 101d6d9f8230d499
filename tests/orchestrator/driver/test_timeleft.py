"""The time left, from recorded timings of real sweeps and from small cases."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from orchestrator.driver.queue import Item, Step
from orchestrator.driver.timeleft import (
    ENDING,
    ENDING_ITEM_S,
    ENDING_S,
    ITEM_S,
    JUMP,
    PATIENCE_S,
    SETTLE_S,
    Countdown,
    TimeLeft,
)

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


def items_of(recorded: dict[str, Any]) -> list[Item]:
    """The items of a recorded sweep, known by their place."""
    return [
        Item(
            key=str(place),
            name=str(place),
            kind=one["kind"],
            needs=tuple(map(str, one["needs"])),
            steps=tuple(
                Step(f"{place}/{n}", stage, seconds)
                for n, (stage, seconds) in enumerate(one["steps"])
            ),
        )
        for place, one in enumerate(recorded["items"])
    ]


def tell(left: TimeLeft, items: list[Item], event: list[Any]) -> None:
    """What `Display` makes of an event."""
    now, what, *args = event
    if what == "begins":
        left.begins(now)
        left.more = args[1]
        for place in args[0]:
            left.add(items[place])
    elif what == "added":
        left.add(items[args[0]])
        left.more = max(0, left.more - (items[args[0]].kind == "trial"))
    elif what == "started":
        left.started(str(args[0]), now)
    elif what == "room":
        left.room(*args, now)
    elif what == "came":
        place, step, fraction, at = args
        left.came(str(place), f"{place}/{step}", fraction, at, now)
    elif what == "took":
        left.took(str(args[0]), args[1])
    elif what in ("back", "again"):
        left.waits(str(args[0]))
    elif what == "ended":
        left.ended(str(args[0]))


def shown(recorded: dict[str, Any]) -> Iterator[tuple[float, float | None]]:
    """Each second of a recorded sweep, and the time left that is shown."""
    left, countdown, items = TimeLeft(), Countdown(), items_of(recorded)
    events = iter([*recorded["events"], [float("inf"), "end"]])
    event = next(events)
    for now in range(int(recorded["ended_s"])):
        while event[0] <= now:
            tell(left, items, event)
            event = next(events)
        yield float(now), countdown.shown(left.left(now), now)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_of_a_recorded_sweep_the_time_left_is_right_and_does_not_rise(path: Path) -> None:
    """Both were recorded on two cores beside up to forty other busy processes: trials of one kind
    took between 8 and 56 seconds."""
    recorded = json.loads(path.read_text())
    events = recorded["events"]
    took = {place: seconds for _, what, place, seconds in filter(is_took, events)}
    told, done, end = dict(shown(recorded)), 0.0, recorded["ended_s"]
    assert told[0.0] is None
    fifth = float("inf")
    for now, what, *arguments in events:
        if what == "ended":
            done += took.get(arguments[0], 0.0)
            fifth = min(fifth, now) if done >= 0.2 * sum(took.values()) else fifth
    for now, s in told.items():
        if now >= fifth:
            assert s is not None, "it is told once a fifth is done"
            real = end - now
            near = abs(s - real) <= end / 15  # near the end a factor says little
            assert 1 / 1.5 <= s / real <= 1.5 or near, (now, s, real)
        before = told.get(now - 30)
        assert s is None or before is None or s <= before, (now, before, s)


def is_took(event: list[Any]) -> bool:
    return bool(event[1] == "took")


def test_two_sweeps_are_recorded() -> None:
    assert len(RECORDED) >= 2
    assert all(len(json.loads(path.read_text())["events"]) > 100 for path in RECORDED)


def item(
    name: str,
    *stages: float,
    needs: tuple[str, ...] = (),
    kind: Literal["stage", "trial"] = "trial",
) -> Item:
    steps = tuple(Step(f"{name}/{n}", f"s{n}", seconds) for n, seconds in enumerate(stages))
    return Item(key=name, name=name, kind=kind, needs=needs, steps=steps)


def sweep(*items: Item, at_once: int = 1, more: int = 0) -> TimeLeft:
    left = TimeLeft(more=more)
    for one in items:
        left.add(one)
    left.room(at_once, 0, False, 0.0)
    return left


def rest(left: TimeLeft, now: float) -> float:
    """Without what the end takes."""
    found = left.left(now)
    assert found is not None
    return found - ENDING_S - ENDING_ITEM_S * len(left._known)


def run(left: TimeLeft, name: str, start: float, seconds: float) -> None:
    """An item from its start to its end."""
    left.started(name, start)
    left.took(name, seconds)
    left.ended(name)


def test_nothing_is_told_before_a_tenth_is_done() -> None:
    left = sweep(*(item(f"t{n}", 10.0) for n in range(19)))
    assert left.left(0.0) is None
    run(left, "t0", 0.0, 10.3)
    assert left.left(10.3) is None, "a nineteenth"
    run(left, "t1", 10.3, 10.3)
    assert rest(left, 20.6) == pytest.approx(17 * 10.3)


def test_what_is_slower_than_predicted_is_expected_to_stay_so() -> None:
    left = sweep(*(item(f"t{n}", 10.0) for n in range(20)), at_once=2)
    for n in range(6):
        run(left, f"t{n}", 10.0 * n, 3 * (10.0 + ITEM_S))
    assert rest(left, 100.0) == pytest.approx(7 * 3 * (10.0 + ITEM_S))


def test_the_work_of_an_item_counts_not_the_number_of_items() -> None:
    long, short = item("long", 100.0), [item(f"t{n}", 1.0, kind="stage") for n in range(10)]
    left = sweep(*short, long)
    for n in range(10):
        run(left, f"t{n}", 0.0, 1.0 + ITEM_S)
    assert rest(left, 13.0) == pytest.approx(100.0 + ITEM_S)


def test_epochs_of_what_runs_count() -> None:
    left = sweep(item("dense", 100.0 - ITEM_S))
    left.started("dense", 0.0)
    left.came("dense", "dense/0", 0.0, 1000.0, 5.0)
    assert left.left(5.0) is None
    left.came("dense", "dense/0", 0.25, 1050.0, 55.0)  # by the clock of its process
    found = rest(left, 55.0)
    assert found == pytest.approx(50.0 * (1 - 0.25 * 0.997) / (0.25 * 0.997))
    assert rest(left, 65.0) == pytest.approx(found - 10.0)
    left.came("dense", "dense/0", 0.125, 1060.0, 65.0)
    assert rest(left, 65.0) == pytest.approx(found - 10.0), "an older note changes nothing"


def test_the_second_stage_of_an_item_begins_where_the_first_ends() -> None:
    left = sweep(item("t", 30.0, 70.0 - ITEM_S))
    left.started("t", 0.0)
    left.came("t", "t/0", 0.0, 0.0, 0.0)
    left.came("t", "t/1", 0.0, 60.0, 60.0)
    assert rest(left, 60.0) == pytest.approx(140.0)
    left.came("t", "elsewhere", 1.0, 70.0, 70.0)
    left.came("nobody", "t/1", 1.0, 70.0, 70.0)
    assert rest(left, 60.0) == pytest.approx(140.0)


def test_a_chain_cannot_be_shared_among_processes() -> None:
    chain = [item(f"c{n}", 10.0, needs=(f"c{n - 1}",) if n else ()) for n in range(4)]
    left = sweep(item("first", 20.0), *chain, at_once=8)
    run(left, "first", 0.0, 20.0 + ITEM_S)
    assert rest(left, 20.0) == pytest.approx(4 * (10.0 + ITEM_S))


def test_processes_that_do_not_come_are_not_counted_on() -> None:
    left = sweep(*(item(f"t{n}", 10.0) for n in range(22)))
    run(left, "t0", 0.0, 10.0 + ITEM_S)
    run(left, "t1", 0.0, 10.0 + ITEM_S)
    run(left, "t2", 0.0, 10.0 + ITEM_S)
    at_once = [(4, 1.0), (4, 1.0 + PATIENCE_S), (2, 2.0 + PATIENCE_S)]
    for processes, now in at_once:
        left.room(4, 2, True, now)
        assert rest(left, now) == pytest.approx(-(-19 // processes) * (10.0 + ITEM_S))
    left.room(4, 4, True, 50.0)
    assert rest(left, 50.0) == pytest.approx(5 * (10.0 + ITEM_S))


def test_what_a_process_gives_back_is_to_be_done() -> None:
    left = sweep(*(item(f"t{n}", 10.0) for n in range(4)))
    run(left, "t0", 0.0, 10.0 + ITEM_S)
    left.started("t1", 10.0)
    left.came("t1", "t1/0", 0.9, 0.0, 20.0)
    assert rest(left, 20.0) < 2.3 * 10.0
    left.waits("t1")
    assert rest(left, 20.0) == pytest.approx(3 * (10.0 + ITEM_S))


def test_trials_that_results_may_call_for_count_like_those_that_are_known() -> None:
    left = sweep(*(item(f"t{n}", 10.0) for n in range(4)), more=6)
    for n in range(4):
        run(left, f"t{n}", 0.0, 10.0 + ITEM_S)
    assert rest(left, 40.0) == pytest.approx(6 * (10.0 + ITEM_S))


def test_what_is_stored_costs_its_delivery_only() -> None:
    left = sweep(item("new", 100.0), *(item(f"old{n}") for n in range(10)))
    for n in range(9):
        run(left, f"old{n}", 0.0, 0.1)
    assert left.left(1.0) is None, "nine deliveries are less than a tenth"


def test_the_end_takes_as_long_as_the_start_made_expect() -> None:
    left = sweep(item("t0", 10.0), item("t1", 10.0))
    run(left, "t0", 0.0, 10.0 + ITEM_S)
    before = rest(left, 10.0)
    left.begins(100.0)
    assert rest(left, 10.0) == pytest.approx(before + ENDING * 100.0 - ENDING_S)
    left.begins(0.1)
    assert rest(left, 10.0) == pytest.approx(before)


def test_a_wavering_estimate_does_not_raise_what_is_shown() -> None:
    countdown, seen = Countdown(), []
    for now in range(60):
        waver = 1.2 if now % 10 < 5 else 0.9
        seen.append(countdown.shown(waver * (100.0 - now), float(now)))
    assert all(s is not None for s in seen)
    assert all(b <= a for a, b in itertools.pairwise(seen) if a is not None and b is not None)
    assert seen[-1] == pytest.approx(41.0, rel=0.25)


def test_what_has_really_become_more_is_shown_at_once() -> None:
    countdown = Countdown()
    assert countdown.shown(100.0, 0.0) == 100.0
    assert countdown.shown(JUMP * 100.0 + SETTLE_S + 1.0, 1.0) == JUMP * 100.0 + SETTLE_S + 1.0


def test_a_shorter_estimate_is_followed_within_half_a_minute() -> None:
    countdown = Countdown()
    countdown.shown(1000.0, 0.0)
    for now in range(1, 45):
        found = countdown.shown(100.0 - now, float(now))
    assert found == pytest.approx(56.0, rel=1.0)
    assert countdown.shown(None, 50.0) is None
