"""Published claims of the seed systems against made-up sweeps."""

from typing import Any

import pytest

from orchestrator.selection.claimed import JUDGES, level_words
from orchestrator.selection.published import PUBLISHED, Published
from orchestrator.selection.published_verdicts import verdict_of
from orchestrator.selection.statistics import Interval
from tests.orchestrator.selection.made_systems import every_family, masked, reduced, system
from tests.orchestrator.selection.test_systems import found

CLAIMS = {p.id: p for p in PUBLISHED}


def claims(rows: list[dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in found(rows)["claims"]}


@pytest.fixture(scope="module")
def whole() -> dict[str, dict[str, Any]]:
    return claims()


def published_isp(loss: float, target: float = 0.8) -> list[dict[str, Any]]:
    """ISP at a published sparsity beside what its tables compare it with, and another family."""
    rows = system("dense", 0.0) + system("tickets", 0.0, patch_drop=0.1)
    rows += masked("issp", loss, target, issp_preset="isp_published_votes")
    for preset, lost in (("progressive", 0.08), ("progressive_published", 0.1), ("lth", 0.07)):
        rows += masked("issp", lost, target, issp_preset=preset)
    return rows + masked("magnitude", 0.2, target) + masked("random_mask", 0.5, target)


def test_every_claim_has_a_line_and_a_verdict(whole: dict[str, dict[str, Any]]) -> None:
    assert list(whole) == list(CLAIMS)
    assert {row["verdict"] for row in whole.values()} <= {
        "reproduced", "not reproduced", "undecided", "not measured",
    }  # fmt: skip
    assert all(row["why"] and row["numbers"] and row["source"] for row in whole.values())


def test_what_was_not_run_says_what_a_sweep_needs(whole: dict[str, dict[str, Any]]) -> None:
    assert whole["tome_untrained"]["verdict"] == "not measured"
    assert whole["tome_untrained"]["why"] == "this sweep ran r 2; published is r 13"
    assert whole["evit_fusion"]["why"].startswith("needs `reduction.fuse: [true, false]`")
    assert whole["data_lth"]["verdict"] == "not measured"
    assert "three-way test" in whole["data_lth"]["why"]
    assert whole["isp_denoiser"]["why"] == (
        "this sweep ran 50 % sparsity; published is 80 % sparsity"
    )


def test_claims_of_isp_are_read_at_the_strongest_published_sparsity() -> None:
    rows = published_isp(0.01, 0.7) + published_isp(0.05)[6:]
    said = claims(rows)
    assert said["isp_one_shot"]["at"] == 0.8
    assert {said[f"isp_{name}"]["verdict"] for name in ("one_shot", "progressive", "lottery")} == {
        "reproduced"
    }
    assert said["isp_denoiser"]["mean"] == pytest.approx(0.03)
    assert said["one_shot_chance"]["verdict"] == "reproduced"
    assert "at 80 % sparsity" in said["isp_one_shot"]["ours"]
    assert "n = 3" in said["isp_one_shot"]["ours"]


def test_a_claim_that_turns_out_the_other_way_does_not_show() -> None:
    assert claims(published_isp(0.3))["isp_progressive"]["verdict"] == "not reproduced"


def test_a_loss_is_read_against_the_published_one_and_the_tolerance() -> None:
    other = system("dense", 0.0) + system("tickets", 0.0, patch_drop=0.1)

    def at(loss: float, keep: float) -> dict[str, Any]:
        tokens = "17/17/14/12 → 10"
        rows = reduced("evit", loss, tokens, reduction_keep=keep, reduction_train="True")
        fused = [row | {"reduction.fuse": "True"} for row in rows]
        return claims(other + fused)["evit_dense"]

    assert at(0.0, 0.7)["verdict"] == "reproduced"
    assert at(0.1, 0.7)["verdict"] == "not reproduced"
    near = at(0.013, 0.7)
    assert near["verdict"] == "undecided"
    assert near["smallest"] == pytest.approx((near["high"] - near["low"]) / 2)
    assert "the smallest difference that this sweep could have seen is at least" in near["why"]
    assert at(0.0, 0.65)["verdict"] == "not measured"


def test_the_strongest_level_of_a_keep_rate_is_the_smallest() -> None:
    others = [row for row in every_family() if row["reduction.method"] != "evit"]
    fused = [
        row | {"reduction.fuse": "True"}
        for keep in (0.7, 0.5)
        for row in reduced("evit", 0.01, "17 → 10", reduction_keep=keep, reduction_train="True")
    ]
    fused += others
    assert claims(fused)["evit_dense"]["at"] == 0.5


@pytest.mark.parametrize(
    ("claim", "low", "high", "verdict"),
    [
        ("isp_schedule", 0.001, 0.02, "reproduced"),
        ("isp_schedule", -0.02, 0.02, "undecided"),
        ("isp_schedule", -0.003, 0.009, "not reproduced"),
        ("isp_denoiser", -0.003, 0.009, "undecided"),
        ("isp_denoiser", -0.02, -0.001, "not reproduced"),
        ("evit_fusion", -0.009, 0.01, "reproduced"),
        ("evit_fusion", -0.009, 0.011, "undecided"),
        ("evit_fusion", 0.011, 0.02, "not reproduced"),
        ("es_free", -0.01, 0.02, "reproduced"),
        ("es_free", -0.012, 0.02, "undecided"),
        ("es_free", -0.03, -0.011, "not reproduced"),
        ("tome_trained", -0.0143, 0.0, "reproduced"),
        ("tome_trained", -0.0145, 0.0, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval_alone(
    claim: str, low: float, high: float, verdict: str
) -> None:
    p = CLAIMS[claim]
    i = Interval(mean=(low + high) / 2, low=low, high=high)
    assert verdict_of(p, max(p.levels), i, 0.01)[0] == verdict


def test_without_an_interval_nothing_is_told_apart() -> None:
    p = CLAIMS["isp_schedule"]
    said = verdict_of(p, 0.8, Interval(mean=0.1, low=None, high=None), 0.01)
    assert said[0] == "undecided"


@pytest.mark.parametrize("p", PUBLISHED, ids=lambda p: p.id)
def test_a_claim_can_be_judged(p: Published) -> None:
    """By two settings at published levels, or by a judge of its own."""
    assert bool(p.levels) == (p.a is not None)
    assert p.levels or p.id in JUDGES
    for at in p.levels:
        assert level_words(p, at)


def test_published_differences_are_those_of_the_published_numbers() -> None:
    for claim, first, second in (
        ("isp_one_shot", (96.82, 95.18, 91.20), (95.31, 86.56, 75.85)),
        ("isp_progressive", (96.82, 95.18, 91.20), (95.25, 90.87, 78.11)),
        ("isp_lottery", (96.82, 95.18, 91.20), (96.53, 94.88, 87.28)),
        ("one_shot_chance", (95.31, 86.56, 75.85), (74.51, 69.84, 64.96)),
        ("isp_schedule", (70.32,), (60.93,)),
        ("isp_denoiser", (71.09,), (70.32,)),
        ("tome_untrained", (79.30,), (81.41,)),
        ("tome_trained", (79.36,), (79.8,)),
        ("dynamicvit_dense", (79.8, 79.6, 79.3), (79.8,) * 3),
        ("evit_dense", (79.8, 79.8, 79.5, 78.9, 78.5), (79.8,) * 5),
        ("evit_fusion", (79.8, 79.8, 79.5, 78.9, 78.5), (79.9, 79.7, 79.4, 79.1, 78.4)),
    ):
        gaps = [a - b for a, b in zip(first, second, strict=True)]
        assert list(CLAIMS[claim].levels.values()) == pytest.approx(gaps), claim
        for value in {*first, *second} - {79.8, 81.41}:
            assert f"{value:.2f}".rstrip("0").rstrip(".") in CLAIMS[claim].numbers.replace(
                "91.20", "91.2"
            ).replace("79.30", "79.3"), claim
