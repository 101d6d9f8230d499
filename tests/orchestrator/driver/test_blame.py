"""What a failure means: another attempt, a wait for word of its node, or the end."""

from collections.abc import Collection

import pytest

from orchestrator.driver.blame import Blame, Verdict
from orchestrator.driver.deaths import KNOWN_S, Deaths
from orchestrator.driver.queue import Item
from orchestrator.worker.failures import MOST_NODES_LOST, Attempts, Failure, of_ray

ITEMS = [Item(key=key, name=key, kind="trial") for key in ("k", "l")]
DIED = of_ray("")


class Case:
    """Blame on two nodes, whose clock stands until it is moved."""

    def __init__(self, max_failures: int = 1) -> None:
        self.nodes, self.time = {"a", "b"}, 1000.0
        deaths = Deaths(lambda: self.nodes, lambda: self.time)
        self.blame = Blame(Attempts(max_failures), deaths)

    def after(self, seconds: float, gone: Collection[str] = ()) -> list[tuple[int, str, bool]]:
        """Items that are settled then: index, reason, and whether they run again."""
        self.time += seconds
        self.nodes -= set(gone)
        return [
            (index, failure.reason, pause_s is not None)
            for index, failure, pause_s in self.blame.settled(ITEMS)
        ]


@pytest.mark.parametrize("kind", ["transient", "memory"])
def test_what_may_pass_is_tried_again_so_often(kind: str) -> None:
    failure = Failure(kind, "x")  # type: ignore[arg-type]
    case = Case(max_failures=2)
    verdicts = [case.blame.verdict(0, "k", failure, None) for _ in range(3)]
    assert verdicts == [Verdict(0.0), Verdict(1.0), Verdict(None)]
    assert case.blame.apart(ITEMS[0])
    assert not case.blame.apart(ITEMS[1])


def test_what_would_fail_again_is_not_tried_again() -> None:
    assert Case().blame.verdict(0, "k", Failure("deterministic", "x"), None) == Verdict(None)


def test_suspects_are_alone_from_then_on() -> None:
    case = Case()
    case.blame.suspect(ITEMS[:1])
    assert [case.blame.apart(item) for item in ITEMS] == [True, False]


def test_only_an_item_that_would_be_given_up_is_held() -> None:
    case = Case(max_failures=1)
    assert case.blame.verdict(0, "k", DIED, "a") == Verdict(0.0)
    assert case.blame.verdict(0, "k", DIED, "a") == Verdict(None, held=True)
    assert case.blame.verdict(1, "l", DIED, "b") == Verdict(0.0)
    assert case.after(KNOWN_S) == [(0, "its process died", False)], "the others run already"


def test_a_node_that_is_gone_is_to_blame_itself() -> None:
    case = Case(max_failures=0)
    case.blame.verdict(0, "k", DIED, "a")
    case.blame.verdict(1, "l", DIED, "b")
    assert case.after(2.0, gone="a") == [(0, "its node died", True)]
    assert case.after(KNOWN_S) == [(1, "its process died", False)]


def test_a_forgiven_failure_does_not_count() -> None:
    case = Case(max_failures=1)
    case.blame.verdict(0, "k", DIED, "a")
    assert case.after(2.0, gone="a") == []
    assert case.blame.verdict(0, "k", DIED, None) == Verdict(0.0), "its first one"
    assert case.blame.verdict(0, "k", DIED, None) == Verdict(None)


def test_an_item_under_which_too_many_nodes_went_away_is_given_up() -> None:
    case = Case(max_failures=0)
    for number in range(MOST_NODES_LOST + 1):
        case.nodes.add(f"n{number}")
        case.blame.verdict(0, "k", DIED, f"n{number}")
        ((_, reason, again),) = case.after(2.0, gone=[f"n{number}"])
        assert reason == "its node died"
        assert again is (number < MOST_NODES_LOST)
