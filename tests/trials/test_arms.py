"""The table of arms: what each runs, and the groups that follow from it."""

from typing import get_args

import pytest

from trials import arms
from trials.arms import ARMS, BY_NAME, ArmName
from trials.reduction.config import Method
from trials.sparsity.criteria import CRITERIA


def test_every_name_that_a_sweep_file_may_write_has_one_row_in_the_same_order() -> None:
    assert tuple(arm.name for arm in ARMS) == get_args(ArmName)
    assert len(BY_NAME) == len(ARMS)


def test_the_groups_are_those_that_results_were_computed_with() -> None:
    assert arms.LOTUS_ARMS == ("tickets", "essential", "issp", "lotus")
    assert arms.CONTROLS == ("random_patches", "random_mask", "magnitude")
    assert ("dense", *arms.LOTUS_ARMS, *arms.SEED_SYSTEMS, *arms.CONTROLS) == arms.NAMES
    assert arms.SEED_SYSTEMS == ("reduced", "random_tickets")
    assert arms.MASK_CONTROLS == ("random_mask", "magnitude")
    assert (*arms.LOTUS_ARMS[1:], *arms.CONTROLS) == arms.PRUNED
    assert ("tickets", "lotus", "random_tickets", *arms.CONTROLS) == arms.TICKETED
    assert arms.MASKED == ("issp", "lotus", "random_patches")
    assert arms.ISSP_ARMS == ("issp", "lotus")
    assert ("essential", *arms.MASKED) == arms.CURVE_ARMS


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_a_control_is_lotus_but_for_what_it_replaces(arm: arms.Arm) -> None:
    lotus = BY_NAME[arms.LOTUS]
    if not arm.control:
        assert not arm.tests
        return
    assert (arm.mask == lotus.mask) == (arm.replaces != "mask")
    assert (arm.patches == lotus.patches) == (arm.replaces != "patches")
    assert arm.tests
    assert arm.differs_with in arm.axes(count_open=True)


@pytest.mark.parametrize("name", arms.MASK_CONTROLS)
def test_a_control_of_the_mask_is_pruned_by_a_criterion_that_looks_at_no_images(name: str) -> None:
    assert not CRITERIA[str(BY_NAME[name].mask)].needs_data


@pytest.mark.parametrize(
    ("name", "known", "count_open"),
    [
        ("dense", set(), set()),
        ("tickets", {"patch_drop"}, {"patch_drop"}),
        ("essential", {"sparsity"}, {"sparsity"}),
        ("issp", {"sparsity", "mask_data_fraction"}, {"sparsity", "mask_data_fraction"}),
        ("lotus", set(arms.BASE_AXES), set(arms.BASE_AXES)),
        ("reduced", set(), set()),
        ("random_tickets", {"patch_drop"}, {"patch_drop"}),
        ("random_patches", set(arms.BASE_AXES), set(arms.BASE_AXES)),
        ("random_mask", {"patch_drop"}, set(arms.BASE_AXES)),
        ("magnitude", {"patch_drop"}, set(arms.BASE_AXES)),
    ],
)
def test_an_arm_uses_its_axes_and_a_control_of_an_open_count_those_of_issp_too(
    name: str, known: set[str], count_open: set[str]
) -> None:
    assert BY_NAME[name].axes(count_open=False) == known
    assert BY_NAME[name].axes(count_open=True) == count_open


def test_no_two_arms_have_one_label_or_one_look() -> None:
    names, labels, looks = zip(*arms.SHOWN, strict=True)
    assert len(set(names)) == len(set(labels)) == len(names)
    assert sorted(looks) == list(range(len(names)))


def test_token_reduction_is_shown_under_its_methods_name() -> None:
    assert set(arms.REDUCED_AS) == set(get_args(Method)) - {"none"}
    assert arms.shown_as("reduced", "tome") == "tome"
    assert arms.shown_as("reduced", None) == "reduced"
    assert arms.shown_as("lotus", "tome") == "lotus"


def test_controls_stand_last() -> None:
    assert arms.NAMES[-len(arms.CONTROLS) :] == arms.CONTROLS
