"""How many items a process is handed at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.driver.batches import BATCH_S, KNOWN, LOOKED_AT, MOST, Pace, fill
from orchestrator.driver.queue import Item, WorkQueue


def trials(count: int) -> list[Item]:
    return [Item(key=f"t{i}", name=f"t{i}", kind="trial") for i in range(count)]


def stage(name: str, key: str) -> Item:
    return Item(key=key, name=name, kind="stage")


def paced(*seconds: float) -> Pace:
    """Trials took so long."""
    pace = Pace()
    for one in seconds:
        pace.took(trials(1)[0], one)
    return pace


def together(item: Item) -> bool:
    return False


def test_items_go_alone_until_some_like_them_have_ended() -> None:
    queue = WorkQueue(trials(100))
    assert fill(queue, Pace(), 2, together) == [0]
    assert fill(queue, paced(*[0.01] * (KNOWN - 1)), 2, together) == [1]
    assert fill(queue, paced(*[0.01] * KNOWN), 2, together) == list(range(2, 51))


def test_the_mean_of_the_latest_decides() -> None:
    pace = paced(*[BATCH_S / 4] * LOOKED_AT)
    assert fill(WorkQueue(trials(100)), pace, 1, together) == [0, 1, 2, 3]
    pace.took(trials(1)[0], BATCH_S * (1 - LOOKED_AT) / 4 + LOOKED_AT * BATCH_S / 2)
    assert fill(WorkQueue(trials(100)), pace, 1, together) == [0, 1]
    for _ in range(LOOKED_AT):
        pace.took(trials(1)[0], 0.001)
    assert len(fill(WorkQueue(trials(100)), pace, 1, together)) == MOST


@pytest.mark.parametrize("slow", [BATCH_S / 1.9, BATCH_S, 600.0])
def test_items_of_which_two_take_too_long_go_alone(slow: float) -> None:
    assert fill(WorkQueue(trials(100)), paced(*[slow] * KNOWN), 2, together) == [0]


def test_nobody_takes_more_than_its_part_of_what_waits() -> None:
    queue, pace = WorkQueue(trials(10)), paced(*[0.001] * KNOWN)
    sizes = []
    while batch := fill(queue, pace, 4, together):
        sizes.append(len(batch))
    assert sizes == [3, 2, 2, 1, 1, 1]


def test_an_item_that_must_be_alone_neither_joins_nor_is_joined() -> None:
    queue, pace = WorkQueue(trials(5)), paced(*[0.001] * KNOWN)
    sizes = [fill(queue, pace, 1, lambda item: item.key == "t2") for _ in range(4)]
    assert sizes == [[0, 1], [2], [3, 4], []]


def test_stages_are_judged_by_their_name_and_not_by_the_trials() -> None:
    queue = WorkQueue([stage("tickets", "a"), stage("tickets", "b"), stage("dense", "c")])
    pace = paced(*[0.001] * KNOWN)
    assert fill(queue, pace, 1, together) == [0]
    for _ in range(KNOWN):
        pace.took(stage("tickets", "x"), 0.001)
    assert fill(queue, pace, 1, together) == [1], "a dense model may take hours"


def test_what_comes_back_after_a_pause_is_not_overtaken_within_a_batch() -> None:
    queue, pace = WorkQueue(trials(3)), paced(*[0.001] * KNOWN)
    assert queue.next() == 0
    queue.again(0, 0.0)
    assert fill(queue, pace, 1, lambda item: item.key == "t0") == [0]
    assert fill(queue, pace, 1, together) == [1, 2]


@given(
    st.lists(st.floats(0, 2), min_size=KNOWN, max_size=50),
    st.integers(1, 200),
    st.integers(1, 8),
    st.sets(st.integers(0, 199)),
)
def test_every_item_is_handed_out_once_in_order_and_no_batch_is_expected_to_take_too_long(
    seconds: list[float], count: int, processes: int, apart: set[int]
) -> None:
    queue, pace = WorkQueue(trials(count)), paced(*seconds)
    expected = pace.expected_s(trials(1)[0])
    assert expected is not None
    seen: list[int] = []
    while batch := fill(queue, pace, processes, lambda item: int(item.key[1:]) in apart):
        assert len(batch) == 1 or len(batch) * expected <= BATCH_S + 1e-9
        assert len(batch) == 1 or not apart & set(batch)
        seen += batch
    assert seen == list(range(count))
