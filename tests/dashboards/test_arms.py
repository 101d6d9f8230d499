"""Arms as the summary describes them."""

from dashboards import style
from dashboards.arms import Arms
from orchestrator.selection.arms import known_arms
from trials.arms import SHOWN

KNOWN = Arms.of({"known_arms": known_arms()})
NONE = Arms.of({})


def test_arms_stand_in_the_order_of_the_paper_and_unknown_ones_last() -> None:
    arms = ["zebra", "magnitude", "lotus", "ant", "dense"]
    assert sorted(arms, key=KNOWN.rank) == ["dense", "lotus", "magnitude", "ant", "zebra"]


def test_every_arm_has_its_own_colour_and_marker() -> None:
    looks = [(KNOWN.colour(name), KNOWN.marker(name)) for name, _, _ in SHOWN]
    assert {*style.ARM_COLOURS} >= {colour for colour, _ in looks}
    assert len(set(looks)) == len(SHOWN)
    assert style.MUTED not in dict(looks)


def test_so_have_arms_beyond_the_colours() -> None:
    assert len({style.arm_look(n) for n in range(64)}) == 64


def test_an_arm_that_the_summary_lacks_keeps_its_name_and_can_be_drawn() -> None:
    for arms in (KNOWN, NONE):
        assert (arms.label("new_arm"), arms.short("new_arm")) == ("new_arm", "New_arm")
        assert (arms.colour("new_arm"), arms.marker("new_arm")) == (style.MUTED, "stroke")
        assert arms.line("new_arm") == style.SOLID
        assert arms.mask("new_arm") is None
    assert NONE.mask_controls() == []


def test_labels_are_short_where_room_is() -> None:
    assert KNOWN.label("random_mask") == "Control: random mask"
    assert KNOWN.short("random_mask") == "Random mask"
    assert KNOWN.short("lotus") == "LOTUS"


def test_controls_are_dashed_and_those_of_the_mask_are_known() -> None:
    assert KNOWN.line("random_patches") == style.DASHED
    assert KNOWN.line("lotus") == style.SOLID
    assert KNOWN.mask_controls() == ["magnitude", "random_mask"]


def test_the_whole_method_alone_is_drawn_on_top() -> None:
    assert [name for name, _, _ in SHOWN if KNOWN.on_top(name)] == ["lotus"]


def test_labels_in_one_figure_are_all_different() -> None:
    long = "x" * 40
    named = NONE.names([f"{long}b", f"{long}a", "zebra", "zebra"])
    assert list(named.values()) == ["X" + "x" * 27, "X" + "x" * 27 + " (2)", "Zebra"]
    assert list(named) == [f"{long}a", f"{long}b", "zebra"]
