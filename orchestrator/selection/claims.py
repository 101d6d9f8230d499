"""The claims of LOTUS against what a sweep measured; every verdict rests on an interval.

Levels must match those in the claim to 1e-9: a neighbouring level would be a different claim.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.couples import (
    HALF,
    Couple,
    Evidence,
    best_couple,
    by_attention,
    default_reading,
    finished,
    pruned,
    reached_sparsity,
    small_data,
)
from orchestrator.selection.curve import CURVE_COLUMNS, one_shot_curve
from orchestrator.selection.design import (
    PRESET,
    read_settings,
    typical,
    varying_columns,
)
from orchestrator.selection.losses import COLLAPSE
from orchestrator.selection.matching import Controls
from orchestrator.selection.pairs import (
    FINAL,
    PRUNED,
    Outcomes,
    between,
    to_dense,
)
from orchestrator.selection.rows import TIE, mean, rows
from orchestrator.selection.scopes import OTHER_SEEDS, THESE_MODELS
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.settings import Setting, preference
from orchestrator.selection.statistics import Interval, sayable, wilson
from orchestrator.selection.verdicts import Claim, Measured, percent, points_of, side
from orchestrator.vocabulary import Metric
from trials.arms import DENSE, ISSP_ARMS, LOTUS, MAGNITUDE, RANDOM_PATCHES, TICKETS

ONE_SHOT, BY_EPOCH = 0.3, 5
LITERAL = "lotus_literal"


def paper_claims(
    results: pd.DataFrame,
    tolerance: float = 0.01,
    confidence: float = 0.95,
    outcomes: Outcomes | None = None,
    curve: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Every claim with its verdict, in the order of the paper; see `Claim`.

    "reproduced" and "not reproduced" need an interval on one side of the limit. Otherwise the claim
    is "undecided", or "not measured" with the reason if the trials for it were not run.

    Args:
        results: one row per trial; may be empty.
        tolerance: the loss that still "keeps accuracy", a fraction.
        confidence: of each interval, uncorrected.
        outcomes: which images each trial gets right, if they were read.
        curve: rows of the one-shot curve, if there are more than the trials have.

    Raises:
        ValueError: see `one_shot_curve`.
    """
    settings = read_settings(results)
    evidence = Evidence(
        results if curve is None else curve, settings, Spreads(settings), varying_columns(results),
        tolerance, confidence, outcomes,
    )  # fmt: skip
    judges: tuple[Callable[[Evidence], Claim], ...] = (
        _one_shot, _tickets_keep, _tickets_beat_random, _near_dense, _collapses, _cured_to_dense,
        _cured_to_magnitude,
    )  # fmt: skip
    return [asdict(judge(evidence)) for judge in judges]


def _one_shot(t: Evidence) -> Claim:
    claim = Claim(
        id="one_shot_30",
        claim=f"One-shot pruning of 30 % keeps accuracy within {_tolerated(t)}",
        paper="about 79 %, “minimal degradation”",
        figure=2,
    )
    curve = rows(one_shot_curve(t.curve, t.confidence), CURVE_COLUMNS)
    level = next((p for p in curve if abs(p["sparsity"] - ONE_SHOT) <= 1e-9), None)
    if level is None or level["drop"] is None:
        return claim.unmeasured("No one-shot mask of exactly 30 % was measured.")
    spread = Interval(mean=level["drop"], low=level["drop_low"], high=level["drop_high"])
    scope = OTHER_SEEDS if level["n"] >= FEWEST_SEEDS else THESE_MODELS
    before = f"{percent(level['val_accuracy'])} on validation; "
    return claim.at_most(Measured(spread, level["n"], scope), t.tolerance, before)


def _tickets_keep(t: Evidence) -> Claim:
    claim = Claim(
        id="tickets_keep",
        claim=f"Tickets without 10 % of the patches keep accuracy within {_tolerated(t)} of "
        "dense with equal fine-tuning",
        paper="close to the state of the art",
        figure=3,
    )
    best = best_couple(t, DENSE, TICKETS, t.recovery, by_attention)
    if best is None:
        return claim.unmeasured("Needs `dense` and `tickets` at `patch_drop` 0.1, on equal seeds.")
    return claim.at_most(t.between(best), t.tolerance, best.words)


def _tickets_beat_random(t: Evidence) -> Claim:
    claim = Claim(
        id="tickets_beat_random",
        claim="Patches chosen by attention beat as many random ones (10 % dropped)",
        paper="winning tickets; no number",
        figure=3,
    )
    best = best_couple(t, RANDOM_PATCHES, LOTUS, t.columns, by_attention, gain=True)
    if best is None:
        why = "Needs `lotus` and `random_patches` at `patch_drop` 0.1, on equal seeds."
        return claim.unmeasured(why)
    return _judged_gain(t, claim, best)


def _near_dense(t: Evidence) -> Claim:
    claim = Claim(
        id="near_dense_by_5",
        claim=f"Fine-tuned on tickets, within {_tolerated(t)} of dense by epoch {BY_EPOCH}",
        paper="by the fifth epoch",
        figure=4,
    )
    for arm in (TICKETS, LOTUS):
        ran = [s for s in t.settings if s.arm == arm and by_attention(s) and finished(s)]
        if ran:
            most = min(ran, key=lambda s: (-len(finished(s)), preference(s)))
            return _near_judged(t, claim, most)
    return claim.unmeasured("Needs the arm `tickets` or `lotus` at `patch_drop` 0.1.")


def _near_judged(t: Evidence, claim: Claim, s: Setting) -> Claim:
    """Judge by the last epoch if that is at most the fifth, else by the share of seeds."""
    ran = finished(s)
    reached = [e for r in ran if (e := r[Metric.FINAL_EPOCHS_TO_NEAR_DENSE]) is not None]
    early = sum(e <= BY_EPOCH + TIE for e in reached)
    epochs = max(float(r["finetune.epochs"] or 0) for r in ran)
    before = f"{early} of {len(ran)} seeds ({s.arm}) got within 1 point by epoch {BY_EPOCH} "
    before += "on whole validation images; "
    if 0 < epochs <= BY_EPOCH:
        before += f"after epoch {epochs:g}, on test and the patches that they keep: "
        lost = t.to_own_dense([to_dense(r, FINAL) for r in ran])
        return claim.at_most(lost, t.tolerance, before)
    mean_share = early / len(ran)
    share = sayable(mean_share, *wilson(mean_share, len(ran), t.confidence), 0, 1)
    verdict, why = side(share, HALF, below=False)
    limits, why = "", "too few seeds to say; more would decide" if share.low is None else why
    if share.low is not None and share.high is not None:
        between = f"{percent(share.low)} to {percent(share.high)}"
        limits, why = f" ({between})", f"{why} % of the seeds"
        if verdict == "undecided":
            why = f"the interval {between} holds half of the seeds; more seeds would decide"
    return replace(
        claim,
        ours=f"{before}share {percent(share.mean)}{limits}",
        n=len(ran),
        mean=share.mean,
        ci_low=share.low,
        ci_high=share.high,
        scope=OTHER_SEEDS if share.low is not None else None,
        verdict=verdict,
        why=why,
    )


def _collapses(t: Evidence) -> Claim:
    claim = Claim(
        id="issp_collapses",
        claim="ISSP collapses once more than half of the weights are pruned: more than "
        f"{100 * COLLAPSE:g} points below dense",
        paper="about 50 %",
        figure=5,
    )
    masked = [s for s in t.settings if s.arm in ISSP_ARMS and pruned(s)]
    if not masked:
        return claim.unmeasured("ISSP was not run.")
    literal = [s for s in masked if s.axes.get(PRESET) == LITERAL]
    # LOTUS trained its masks on 10 % of the data. A reading with one change is a different reading.
    ran = literal or [s for s in masked if (reached_sparsity(s) or 0.0) > HALF + 1e-9]
    chosen = typical([s for s in ran if small_data(s)] or ran)
    if chosen is None or (reached_sparsity(chosen) or 0.0) <= HALF + 1e-9:
        return claim.unmeasured("No ISSP mask of that reading removes more than half.")
    reading = "literal reading" if literal else "this sweep's own reading, not the literal one"
    accuracy = percent(mean(pruned(chosen), PRUNED.accuracy))
    before = f"{reading}: {accuracy} on validation at "
    before += f"{percent(reached_sparsity(chosen))} sparsity; "
    lost = t.to_own_dense([to_dense(r, PRUNED) for r in pruned(chosen)])
    return claim.more_than(lost, COLLAPSE, before)


def _cured_to_dense(t: Evidence) -> Claim:
    claim = _cured(DENSE, f"keeps accuracy within {_tolerated(t)} of dense")
    chosen = default_reading(t)
    best = best_couple(t, DENSE, LOTUS, t.recovery, lambda s: s is chosen)
    if best is None:
        return claim.unmeasured(_missing_cure(DENSE))
    return claim.at_most(t.between(best), t.tolerance, best.words)


def _cured_to_magnitude(t: Evidence) -> Claim:
    claim = _cured(MAGNITUDE, "beats plain one-shot magnitude at the same sparsity")
    chosen = default_reading(t)
    like = Controls(t.settings).like(chosen, MAGNITUDE, final=True) if chosen else {}
    if chosen is None or not like:
        return claim.unmeasured(_missing_cure(MAGNITUDE))
    # From lotus to its control: the gain of lotus.
    pairs = [between(chosen.first[seed], row, FINAL, outcomes=t.outcomes)
             for seed, row in like.items()]  # fmt: skip
    measured = tuple(p for p in pairs if p is not None)
    return _judged_gain(t, claim, Couple(t.owner(like.values()), chosen, measured))


def _judged_gain(t: Evidence, claim: Claim, best: Couple) -> Claim:
    return claim.more_than(t.between(best), 0.0, best.words, "gain")


def _cured(other: str, what: str) -> Claim:
    text = f"ISSP cured (default reading, 50 % sparsity, 10 % of the patches dropped) {what}, "
    text += "after equal fine-tuning"
    return Claim(id=f"issp_cured_{other}", claim=text, paper="not in the paper", figure=None)


def _missing_cure(other: str) -> str:
    return (
        "Needs `lotus` (default preset, final sparsity 0.5, `patch_drop` 0.1) and "
        f"`{other}` on equal seeds."
    )


def _tolerated(t: Evidence) -> str:
    return points_of(t.tolerance)
