"""The order of stages and trials."""

import time

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.driver.queue import Item, WorkQueue


def item(key: str, *needs: str) -> Item:
    return Item(key=key, name=key, kind="trial", needs=needs)


def drain(queue: WorkQueue, failing: frozenset[str] = frozenset()) -> list[str]:
    """Run everything; the keys in the order in which they ran."""
    ran = []
    while (index := queue.next()) is not None:
        key = queue.items[index].key
        ran.append(key)
        queue.end(index, "broken" if key in failing else None)
    return ran


def test_an_item_waits_for_everything_it_needs() -> None:
    queue = WorkQueue([item("trial", "dense", "mask"), item("mask", "dense"), item("dense")])
    first = queue.next()
    assert first == 2
    assert queue.next() is None, "nothing else may run while `dense` does"
    queue.end(2, None)
    assert drain(queue) == ["mask", "trial"]
    assert queue.finished


def test_a_need_that_is_not_in_the_queue_counts_as_met() -> None:
    assert drain(WorkQueue([item("trial", "stored long ago")])) == ["trial"]


def test_what_needs_a_failed_item_fails_without_running_and_nothing_else_does() -> None:
    queue = WorkQueue([item("a"), item("b", "a"), item("c", "b"), item("d")])
    assert drain(queue, frozenset({"a"})) == ["a", "d"]
    assert queue.finished
    assert queue.errors["a"] == "broken"
    assert queue.errors["b"] == "a failed: broken"
    assert queue.errors["c"] == "a failed: broken", "what everything began with"
    assert "d" not in queue.errors


def test_an_item_that_needs_two_failed_ones_is_reported_once() -> None:
    queue = WorkQueue([item("a"), item("b"), item("c", "a", "b")])
    first, second = queue.next(), queue.next()
    assert first is not None
    assert second is not None
    assert queue.end(first, "x") == [2]
    assert queue.end(second, "y") == []
    assert queue.finished


@given(st.lists(st.sets(st.integers(0, 19)), max_size=20), st.sets(st.integers(0, 19)))
def test_every_graph_ends_in_order_with_each_item_run_or_failed_once(
    needs: list[set[int]], failing: set[int]
) -> None:
    items = [item(str(i), *(str(n) for n in before if n < i)) for i, before in enumerate(needs)]
    queue = WorkQueue(items)
    ran = drain(queue, frozenset(str(f) for f in failing))
    assert queue.finished
    assert len(ran) == len(set(ran))
    assert {i.key for i in items} == set(ran) | set(queue.errors)
    place = {key: at for at, key in enumerate(ran)}
    for one in items:
        for need in one.needs:
            if one.key in place:
                assert place[need] < place[one.key]
                assert need not in queue.errors


def test_a_growing_queue_waits_and_ends_when_nothing_more_is_called_for() -> None:
    queue = WorkQueue([item("a")], growing=True)
    assert drain(queue) == ["a"]
    assert queue.idle
    assert not queue.finished
    assert queue.add([item("b", "a"), item("c", "b")]) == []
    assert drain(queue) == ["b", "c"]
    queue.growing = False
    assert queue.finished


def test_urgent_items_go_before_what_is_waiting() -> None:
    queue = WorkQueue([item("a"), item("b")], growing=True)
    queue.add([Item(key="now", name="now", kind="trial", urgent=True)])
    assert drain(queue) == ["now", "a", "b"]


def test_items_that_are_taken_back_are_the_next_ones_in_the_order_they_had() -> None:
    queue = WorkQueue([item("a"), item("b"), item("c"), item("d")])
    handed = [index for _ in range(3) if (index := queue.next()) is not None]
    queue.back(handed[1:])
    assert queue.ahead == handed[1]
    assert drain(queue) == ["b", "c", "d"]


def test_an_added_item_that_needs_a_failed_one_fails_at_once_with_what_needs_it() -> None:
    queue = WorkQueue([item("a")], growing=True)
    drain(queue, frozenset({"a"}))
    assert queue.add([item("b", "a"), item("c", "b"), item("d")]) == [1, 2]
    assert queue.errors["b"] == "a failed: broken"
    assert queue.errors["c"] == "a failed: broken", "what everything began with"
    assert drain(queue) == ["d"]


def test_an_item_that_is_to_run_again_comes_after_its_pause_and_keeps_the_queue_open() -> None:
    queue = WorkQueue([item("a"), item("b", "a"), item("c")])
    assert queue.next() == 0
    queue.again(0, pause_s=2)
    assert queue.next() == 2, "others go on meanwhile"
    assert queue.next() is None
    assert not queue.idle
    until = time.monotonic() + 60
    while (index := queue.next()) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert index == 0
    assert queue.next() is None, "handed out once"
    queue.end(0, None)
    assert queue.next() == 1
