"""Several sweeps on one cluster: the division, and who takes part in it."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.driver.sharing import AHEAD, GONE_S, REFRESH_S, Note, Share, divide


def notes(**of: tuple[float, float]) -> dict[str, Note]:
    return {name: Note(weight, wants, 1) for name, (weight, wants) in of.items()}


@pytest.mark.parametrize(
    ("slots", "of", "expected"),
    [
        (8, {"a": (1, 1), "b": (1, 1)}, {"a": 4, "b": 4}),
        (3, {"a": (1, 1), "b": (1, 1)}, {"a": 2, "b": 1}),
        (9, {"a": (2, 1), "b": (1, 1)}, {"a": 6, "b": 3}),
        (8, {"a": (1, 0.25), "b": (1, 1)}, {"a": 2, "b": 6}),
        (8, {"a": (1, 0.0), "b": (1, 1)}, {"a": 1, "b": 8}),
        (10, {"a": (1, 1), "b": (1, 0.1), "c": (3, 1)}, {"a": 2, "b": 1, "c": 7}),
        (2, {"a": (1, 1), "b": (1, 1), "c": (1, 1)}, {"a": 1, "b": 1, "c": 1}),
        (0, {"a": (1, 1), "b": (1, 1)}, {"a": 1, "b": 1}),
    ],
)
def test_the_division(
    slots: int, of: dict[str, tuple[float, float]], expected: dict[str, int]
) -> None:
    assert divide(slots, notes(**of)) == expected


@given(
    st.integers(1, 60),
    st.dictionaries(
        st.sampled_from("abcdef"), st.tuples(st.floats(0.1, 9), st.floats(0, 1)), min_size=1
    ),
)
def test_nothing_is_left_while_somebody_wants_it_and_everybody_gets_one(
    slots: int, of: dict[str, tuple[float, float]]
) -> None:
    found = divide(slots, notes(**of))
    wanted = {name: wants * slots for name, (_, wants) in of.items()}
    assert min(found.values()) >= 1
    if sum(found.values()) < slots:
        assert all(found[name] >= wanted[name] - 1e-6 for name in of)
    assert sum(found.values()) <= slots + len(of)


@dataclass
class Cluster:
    """A board, a clock and a number of slots."""

    slots: int = 4
    time: float = 0.0
    hung: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        self.hung[name] = text

    def read(self) -> dict[str, str]:
        return dict(self.hung)

    def remove(self, name: str) -> None:
        self.hung.pop(name, None)

    def share(self, name: str, **more: float) -> Share:
        return Share(self, lambda: self.slots, now=lambda: self.time, name=name, **more)  # type: ignore[arg-type]


def test_alone_a_sweep_has_everything_and_some_that_stand_ready() -> None:
    cluster = Cluster()
    share = cluster.share("a")
    assert share.limit(0, 100) == 4 + 2
    assert share.alone
    cluster.slots = 100
    assert share.limit(6, 94) == 6, "it does not look at every question"
    cluster.time += REFRESH_S
    assert share.limit(6, 94) == 100 + 26, "nodes that have joined are used"


def test_where_nodes_come_when_they_are_waited_for_more_stands_ready() -> None:
    cluster = Cluster(slots=0)
    assert cluster.share("a", grows=True).limit(0, 100) == AHEAD
    cluster.hung.clear()
    assert cluster.share("b").limit(0, 100) == 1


def test_a_second_sweep_halves_the_first_and_its_end_or_death_gives_all_back() -> None:
    cluster = Cluster()
    first, second = cluster.share("a"), cluster.share("b")
    assert first.limit(0, 100) == 6
    assert second.limit(0, 100) == 2
    cluster.time += REFRESH_S
    assert first.limit(6, 94) == 2
    assert not first.alone
    second.leave()
    cluster.time += REFRESH_S
    assert first.limit(2, 94) == 6
    third = cluster.share("c")
    third.limit(0, 100)
    for _ in range(int(GONE_S / REFRESH_S) + 2):  # it died: its note stands still
        cluster.time += REFRESH_S
        limit = first.limit(2, 90)
    assert limit == 6
    assert set(cluster.hung) == {"a"}


def test_who_needs_little_leaves_the_rest_and_weights_count() -> None:
    cluster = Cluster(slots=8)
    small, large = cluster.share("a"), cluster.share("b", weight=3.0)
    small.limit(1, 0)
    assert large.limit(0, 100) == 7
    cluster.time += REFRESH_S
    small.limit(1, 50)
    assert large.limit(7, 90) == 6
    cluster.hung["x"] = "no note"
    cluster.time += REFRESH_S
    assert large.limit(7, 90) == 6
