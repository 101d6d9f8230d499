import pytest
from pydantic import ValidationError

from tests.trials.reduction.models import settings
from trials.reduction.config import ReductionConfig, tokens_text


@pytest.mark.parametrize(
    ("depth", "blocks"), [(12, (3, 6, 9)), (4, (1, 2, 3)), (2, (0, 1)), (1, (0,)), (6, (1, 3, 4))]
)
def test_quarters_are_blocks_of_the_depth_each_once(depth: int, blocks: tuple[int, ...]) -> None:
    assert settings("evit").stages(depth) == blocks


def test_tome_has_no_stages_because_it_merges_everywhere() -> None:
    assert settings("tome", blocks=[0]).stages(4) == ()
    assert settings("tome", r=5).merges(4) == (5, 5, 5, 5)


def test_a_decreasing_r_falls_from_twice_to_nothing() -> None:
    falling = settings("tome", r=8, r_schedule="decreasing")
    assert falling.merges(12) == (16, 14, 13, 11, 10, 8, 7, 5, 4, 2, 1, 0)
    assert falling.merges(1) == (8,)
    assert sum(falling.merges(4)) == 31  # 16, 10, 5, 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blocks": [2, 1]}, "ascending, each once"),
        ({"blocks": [1, 1]}, "ascending, each once"),
        ({"blocks": [-1]}, "from 0"),
        ({"blocks": []}, "block numbers"),
        ({"keep": 0}, "greater than 0"),
        ({"keep": 1.1}, "less than or equal to 1"),
        ({"keep": float("nan")}, "less than or equal to 1"),
        ({"keep": True}, "not true or false"),
        ({"r": -1}, "0 or more tokens"),
        ({"r": []}, "0 or more tokens"),
        ({"r": [1, -1]}, "0 or more tokens"),
        ({"method": "tome", "r": [1, 2], "r_schedule": "decreasing"}, "needs one number r"),
        ({"method": "dynamicvit", "train": False}, "have to be trained"),
        ({"method": "dynamicvit", "count": "initial"}, "published and entering"),
        ({"tau": 0}, "greater than 0"),
        ({"tau": float("nan")}, "finite"),
        ({"hold": 1}, "less than 1"),
        ({"ratio_weight": float("inf")}, "finite"),
        ({"fuse": "maybe"}, "normalised"),
        ({"method": "topk"}, "evit"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ReductionConfig.model_validate(wrong)


def test_blocks_and_lists_have_to_fit_the_depth() -> None:
    with pytest.raises(ValueError, match=r"blocks = \[1, 4\]: the model has blocks 0 to 3"):
        settings("evit", blocks=[1, 4]).stages(4)
    with pytest.raises(ValueError, match=r"r has 3 numbers, and the model 4 blocks"):
        settings("tome", r=[1, 2, 3]).merges(4)


@pytest.mark.parametrize(
    ("config", "acts"),
    [
        (settings("none"), False),
        (settings("none", keep=0.5), False),
        (settings("evit"), True),
        (settings("evit", keep=1.0, r=3), False),
        (settings("dynamicvit", keep=1.0), False),
        (settings("random", keep=1.0), False),
        (settings("tome", r=0), False),
        (settings("tome", r=[0, 0]), False),
        (settings("tome", r=[0, 1]), True),
        (settings("tome", keep=1.0), True),
    ],
)
def test_nothing_acts_where_nothing_would_leave(config: ReductionConfig, acts: bool) -> None:
    assert config.acts is acts


def test_keep_falls_by_a_cosine_once_it_starts() -> None:
    config = settings("evit", keep=0.6, shrink_start=2, shrink_epochs=4)
    assert [config.at(epoch).keep for epoch in (0, 1.9, 2)] == [1, 1, 1]
    assert config.at(4).keep == pytest.approx(0.8)
    assert config.at(3).keep > config.at(3.5).keep > config.at(5).keep
    assert config.at(6).keep == config.at(99).keep == 0.6
    assert settings("evit", keep=0.6).at(0).keep == 0.6
    assert settings("random", keep=0.6, shrink_epochs=4).at(0).keep == 0.6


@pytest.mark.parametrize(("epochs", "held"), [(30, 5), (6, 1), (5, 0), (0, 0), (12, 2)])
def test_the_backbone_is_held_for_a_share_of_the_epochs(epochs: int, held: int) -> None:
    assert settings("dynamicvit").held_epochs(epochs) == held


def test_dynamicvit_counts_what_a_ticket_leaves_unless_it_is_told_otherwise() -> None:
    assert settings("dynamicvit").resolved(tickets=True).count == "entering"
    assert settings("dynamicvit").resolved(tickets=False).count == "published"
    written = settings("dynamicvit", count="published")
    assert written.resolved(tickets=True).count == "published"
    assert settings("evit").resolved(tickets=True).count == "published"


def test_tokens_are_told_in_one_line() -> None:
    assert tokens_text([(65, 49), (49, 33), (33, 17), (17, 9)]) == "65/49/33/17 → 9"
