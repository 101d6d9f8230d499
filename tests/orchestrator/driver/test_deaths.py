"""A process that died: alone, or with its node."""

from dataclasses import dataclass, field

from orchestrator.driver.deaths import KNOWN_S, LOOK_S, Deaths
from orchestrator.worker.failures import of_ray


@dataclass
class Nodes:
    """Nodes and a clock."""

    living: set[str] = field(default_factory=lambda: {"a", "b"})
    time: float = 100.0

    def deaths(self) -> Deaths:
        return Deaths(lambda: self.living, lambda: self.time)


def test_a_process_whose_node_is_gone_is_known_as_soon_as_ray_knows() -> None:
    nodes = Nodes()
    deaths = nodes.deaths()
    deaths.add(3, of_ray(""), "a", held=True)
    assert deaths.settled() == []
    nodes.living.discard("a")
    assert deaths.settled() == [], "it does not look at every question"
    nodes.time += LOOK_S
    ((death, gone),) = deaths.settled()
    assert (death.item, death.held, gone) == (3, True, True)
    nodes.time += LOOK_S
    assert deaths.settled() == []


def test_a_node_that_lives_on_is_not_to_blame() -> None:
    nodes = Nodes()
    deaths = nodes.deaths()
    deaths.add(3, of_ray(""), "a", held=True)
    nodes.time += KNOWN_S - 1
    assert deaths.settled() == []
    deaths.add(4, of_ray(""), "b", held=False)
    nodes.time += 1
    assert [(death.item, gone) for death, gone in deaths.settled()] == [(3, False)]
    nodes.living.clear()
    nodes.time += LOOK_S
    assert [(death.item, gone) for death, gone in deaths.settled()] == [(4, True)]
