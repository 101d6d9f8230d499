from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.training.recipe import TrainConfig

SCHEDULES = get_args(TrainConfig.model_fields["schedule"].annotation)


@given(st.sampled_from(SCHEDULES), st.integers(0, 20), st.integers(1, 60))
def test_the_rate_rises_over_the_warm_up_to_1_and_never_rises_after(
    schedule: str, warm: int, total: int
) -> None:
    cfg = TrainConfig.model_validate({"schedule": schedule, "warmup_steps": warm})
    rates = [cfg.rate(step, total) for step in range(total)]
    up, down = rates[:warm], rates[warm:]
    assert up == pytest.approx([(n + 1) / warm for n in range(len(up))])
    assert down == sorted(down, reverse=True)
    assert down[:1] in ([], [1.0])
    assert all(0.0 <= rate <= 1.0 for rate in rates)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.1), ("constant", 1.0)])
def test_the_last_of_ten_steps_has_what_its_schedule_leaves(schedule: str, last: float) -> None:
    cfg = TrainConfig.model_validate({"schedule": schedule})
    assert cfg.rate(9, 10) == pytest.approx(last)
