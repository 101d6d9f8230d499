"""What a budget allows."""

from typing import Any

import pytest

from orchestrator.commands.fitting import CONCESSIONS, WORTH, Effort, TooLittleError, choices, fit


def possible(train: int = 3000, *, adapted: bool = True) -> dict[str, Any]:
    return choices((224, 160, 96, 64), train, adapted=adapted)


def price(effort: Effort) -> float:
    """Something that grows with each part."""
    images = effort.images or 3000
    trials = len(effort.arms) * len(effort.drops) * len(effort.fractions) * effort.seeds
    passes = effort.epochs[0] * effort.seeds + effort.epochs[1] * trials + len(effort.levels)
    return passes * images * effort.pixels**2


def best() -> Effort:
    return Effort(**{name: values[0] for name, values in possible().items()})


def test_a_large_budget_gives_up_nothing() -> None:
    effort, cost = fit(possible(), price, price(best()))
    assert effort == best()
    assert cost == price(best())
    assert effort.images is None


@pytest.mark.parametrize("part", [0.5, 0.2, 0.05, 0.01])
def test_every_budget_is_kept_and_used(part: float) -> None:
    budget = part * price(best())
    effort, cost = fit(possible(), price, budget)
    assert cost == price(effort) <= budget
    place = {name: values.index(getattr(effort, name)) for name, values in possible().items()}
    for name, index in place.items():
        if index:
            better = place | {name: index - 1}
            more = Effort(**{n: values[better[n]] for n, values in possible().items()})
            assert price(more) > budget, f"{name} could be better"


def test_a_budget_that_allows_nothing_names_the_least() -> None:
    least = Effort(**{name: values[-1] for name, values in possible().items()})
    with pytest.raises(TooLittleError) as refused:
        fit(possible(), price, 1.0)
    assert refused.value.least == price(least)
    assert fit(possible(), price, price(least))[0] == least


def test_every_part_can_be_given_up_to_the_end_and_taken_back() -> None:
    longest = possible(train=10**6)
    for name, values in longest.items():
        assert CONCESSIONS.count(name) >= len(values) - 1 or name == "pixels"
    assert set(WORTH) == set(longest) == set(CONCESSIONS)
    assert CONCESSIONS.count("pixels") >= 7


def test_no_more_images_are_asked_for_than_there_are() -> None:
    assert possible(train=2000)["images"] == (None, 1000, 500)
    assert possible(train=400)["images"] == (None,)


def test_a_model_from_scratch_is_trained_for_longer() -> None:
    assert possible(adapted=False)["epochs"][-1][0] > possible()["epochs"][0][0]
