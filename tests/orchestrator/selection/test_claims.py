"""The paper's claims: verdicts come from intervals, at exactly the levels that are named."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection.claims import paper_claims
from orchestrator.selection.comparisons import Spreads, compare_arms
from orchestrator.selection.contrasts import contrasts
from orchestrator.selection.settings import group_settings
from orchestrator.selection.statistics import Interval
from orchestrator.selection.verdicts import Claim, Measured, side
from tests.orchestrator.selection.conftest import (
    DEFAULT,
    LITERAL,
    N,
    control,
    ended,
    lossy,
    masked,
    one_shot_loss,
    reached,
    star,
    trial,
)


def verdicts(rows: list[dict[str, Any]] | pd.DataFrame, **options: Any) -> dict[str, Any]:
    """Claim id -> claim."""
    return {c["id"]: c for c in paper_claims(pd.DataFrame(rows), **options)}


def one_shot(level: float, loss: float, seed: int = 0) -> dict[str, Any]:
    metrics = lossy("essential", "val", loss) | ended(loss)
    extra = {"stage.essential": f"{level}-{seed}"}
    return trial("essential", DEFAULT | {"sparsity": level}, seed, **metrics, **extra)


def tuned(arm: str, loss: float, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A fine-tuned trial without ISSP metrics."""
    metrics = ended(loss)
    config = DEFAULT | ({"patch_drop": None} if arm == "dense" else {}) | changes
    near = np.nan if loss > 0.01 else 3.0
    return trial(arm, config, seed, **metrics, **{"final/epochs_to_near_dense": near})


def test_an_empty_sweep_tests_nothing_and_says_what_each_claim_needs() -> None:
    found = paper_claims(pd.DataFrame())
    assert [c["figure"] for c in found] == [2, 3, 3, 4, 5, None, None]
    assert all(c["verdict"] == "not measured" and c["why"] and c["n"] == 0 for c in found)


@pytest.mark.parametrize(
    ("loss", "verdict"), [(0.001, "reproduced"), (0.01, "undecided"), (0.05, "not reproduced")]
)
def test_one_shot_at_30_percent_is_judged_by_its_interval(loss: float, verdict: str) -> None:
    claim = verdicts([one_shot(0.3, loss)])["one_shot_30"]
    assert claim["verdict"] == verdict
    assert claim["mean"] == pytest.approx(loss)
    assert claim["ci_low"] < loss < claim["ci_high"]
    assert ("holds the limit" in claim["why"]) == (verdict == "undecided")


def test_a_neighbouring_level_does_not_stand_in() -> None:
    assert verdicts([one_shot(0.31, 0.0)])["one_shot_30"]["verdict"] == "not measured"
    assert verdicts([one_shot(0.1 + 0.2, 0.0)])["one_shot_30"]["n"] == 1
    near = verdicts([tuned("dense", 0.0), tuned("tickets", 0.0, patch_drop=0.11)])
    assert near["tickets_keep"]["verdict"] == "not measured"


def test_tickets_are_compared_with_dense_of_equal_fine_tuning_only() -> None:
    rows = [tuned("dense", 0.0), tuned("tickets", 0.001)]
    assert verdicts(rows)["tickets_keep"]["verdict"] == "reproduced"
    rows[0] |= {"finetune.epochs": "3"}
    assert verdicts(rows)["tickets_keep"]["verdict"] == "not measured"


def test_tickets_beat_random_patches_only_where_the_interval_says_so() -> None:
    for loss, verdict in ((0.1, "reproduced"), (0.002, "undecided"), (-0.09, "not reproduced")):
        rows = [tuned("lotus", 0.05), tuned("random_patches", 0.05 + loss)]
        claim = verdicts(rows)["tickets_beat_random"]
        assert claim["verdict"] == verdict
        assert claim["mean"] == pytest.approx(loss)


def test_outcomes_by_image_make_a_comparison_exact() -> None:
    rows = [tuned("lotus", 0.05), tuned("random_patches", 0.052)]
    right = np.arange(N) >= round(0.05 * N) + round(0.1 * N)
    worse = np.arange(N) >= round(0.052 * N) + round(0.1 * N)
    given = {rows[0]["key"]: {"deployed.test": right}, rows[1]["key"]: {"deployed.test": worse}}
    bounds = verdicts(rows)["tickets_beat_random"]
    exact = verdicts(rows, outcomes=given)["tickets_beat_random"]
    assert exact["mean"] == pytest.approx(bounds["mean"])
    assert (bounds["verdict"], exact["verdict"]) == ("undecided", "reproduced")


def test_near_dense_counts_the_seeds_that_got_there() -> None:
    rows = [tuned("tickets", 0.001, s) for s in range(2)] + [tuned("tickets", 0.05, 2)]
    claim = verdicts(rows)["near_dense_by_5"]
    assert "2 of 3 seeds (tickets) got within 1 point by epoch 5" in claim["ours"]
    assert claim["verdict"] == "undecided"
    assert verdicts(rows[:2])["near_dense_by_5"]["verdict"] == "reproduced"
    longer = [r | {"finetune.epochs": "9"} for r in rows[:2]]
    assert verdicts(longer)["near_dense_by_5"]["mean"] == 1.0
    few = verdicts(longer)["near_dense_by_5"]
    assert (few["verdict"], few["ci_low"], few["ci_high"]) == ("undecided", None, None)
    assert "share 100.0 %" in few["ours"]
    assert few["why"].startswith("too few seeds to say")
    many = [tuned("tickets", 0.001, s) | {"finetune.epochs": "9"} for s in range(5)]
    assert verdicts(many)["near_dense_by_5"]["verdict"] == "reproduced"
    assert "(56.6 % to 100.0 %)" in verdicts(many)["near_dense_by_5"]["ours"]


def test_the_literal_reading_decides_about_the_collapse_and_not_its_variants() -> None:
    table = star(lambda c: (reached(c), one_shot_loss(reached(c))))
    # Without this one the first literal setting in order is a variant that prunes less.
    claim = verdicts(table[table["finetune.epochs"] != "1"])["issp_collapses"]
    assert claim["verdict"] == "reproduced"
    assert claim["mean"] == pytest.approx(0.5)
    assert "literal reading: 40.0 % on validation at 79.0 % sparsity" in claim["ours"]


def test_without_the_literal_reading_the_sweeps_own_is_named_as_such() -> None:
    own = [masked(DEFAULT, s, lambda c: (0.7, 0.03), 0.0) for s in range(3)]
    claim = verdicts(own)["issp_collapses"]
    assert claim["verdict"] == "not reproduced"
    assert "this sweep's own reading" in claim["ours"]
    half = [masked(DEFAULT, 0, lambda c: (0.5, 0.5), 0.0)]
    assert verdicts(half)["issp_collapses"]["verdict"] == "not measured"
    mild = [masked(LITERAL, 0, lambda c: (0.45, 0.03), 0.0), *own]
    assert verdicts(mild)["issp_collapses"]["verdict"] == "not measured"


def test_the_cure_is_the_default_reading_at_exactly_one_half() -> None:
    rows = [masked(DEFAULT, s, lambda c: (0.5, 0.032), 0.0) for s in range(3)]
    rows += [masked(DEFAULT | {"issp.steps": "9"}, 0, lambda c: (0.5, 0.0), 0.0)]
    rows += [tuned("dense", 0.0, s) for s in range(3)]
    rows += [control("magnitude", 0.5, 0.8, s) for s in range(3)]
    found = verdicts(rows)
    assert found["issp_cured_dense"]["verdict"] == "reproduced"
    assert found["issp_cured_magnitude"]["verdict"] == "reproduced"
    assert found["issp_cured_magnitude"]["mean"] == pytest.approx(0.048)
    off = pd.DataFrame(rows)
    off["issp/sparsity"] += 0.001
    assert verdicts(off)["issp_cured_dense"]["verdict"] == "not measured"


def test_failed_trials_and_absent_columns_are_no_error() -> None:
    table = star(lambda c: (0.5, 0.03)).drop(
        columns=["issp.preset", "final/deployed_test_lost", "key"]
    )
    table.loc[::2, [c for c in table.columns if c.startswith("final/")]] = np.nan
    assert len(paper_claims(table)) == 7


@pytest.mark.parametrize(
    ("low", "high", "below", "above"),
    [
        (-0.02, 0.009, "reproduced", "not reproduced"),
        (-0.02, 0.01, "reproduced", "not reproduced"),
        (0.011, 0.02, "not reproduced", "reproduced"),
        (0.01, 0.02, "undecided", "undecided"),
        (None, None, "undecided", "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(
    low: float | None, high: float | None, below: str, above: str
) -> None:
    found = Interval(mean=0.01, low=low, high=high)
    assert side(found, 0.01, below=True)[0] == below
    assert side(found, 0.01, below=False)[0] == above


def test_equal_models_do_not_beat_each_other() -> None:
    claim = Claim(id="x", claim="x", paper="x", figure=None)
    same = Interval(mean=0.0, low=0.0, high=0.0)
    found = claim.more_than(Measured(same, 3, "other seeds"), 0.0, what="gain")
    assert (found.verdict, found.scope, found.n) == ("not reproduced", "other seeds", 3)


@pytest.mark.parametrize("seeds", [2, 5])
def test_a_claim_and_the_table_of_comparisons_say_the_same_of_one_pair(seeds: int) -> None:
    noise = np.random.default_rng(0)
    rows = [
        tuned(arm, loss + noise.normal(0, 0.004), s)
        for s in range(seeds)
        for arm, loss in (("dense", 0.0), ("tickets", 0.02), ("lotus", 0.04), ("issp", 0.01))
    ]
    claim = verdicts(rows)["tickets_keep"]
    found = group_settings(pd.DataFrame(rows), ["patch_drop"])
    table = compare_arms(contrasts(found), {}, Spreads(found))
    same = next(c for c in table if (c.a, c.b) == ("tickets", "dense"))
    low, high = same.models_low, same.models_high
    if seeds >= 3:
        low, high = same.seeds_low, same.seeds_high
    assert low is not None
    assert high is not None
    # The claim says what is lost, the table what tickets have more.
    assert (claim["ci_low"], claim["ci_high"]) == pytest.approx((-high, -low))
    assert claim["scope"] == same.scope
    assert f"{same.scope})" in claim["ours"]
