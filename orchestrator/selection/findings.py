"""Sentences on what is doubtful in a sweep, and on what it did not measure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.selection.analysis import Analysis
from orchestrator.selection.controls import control_warnings
from orchestrator.selection.curve import (
    CURVE_COLUMNS,
    curve_model,
    level_rows,
)
from orchestrator.selection.losses import COLLAPSE, collapses
from orchestrator.selection.predictors import predictor_warnings
from orchestrator.selection.rows import (
    TIE,
    Row,
    dense_models,
    grouped,
    rows,
)
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.settings import unmeasured
from orchestrator.vocabulary import Metric
from trials.arms import BY_NAME, CONTROLS, CURVE_ARMS, MASK_CONTROLS, MASKED, NAMES, SEED_SYSTEMS

COARSE = 0.1  # widest bracket of the essential sparsity without a warning


def warnings(analysis: Analysis) -> list[str]:
    """What a reader must know before trusting the numbers."""
    return [
        *_trial_warnings(analysis),
        *_curve_warnings(analysis),
        *_source_warnings(analysis),
        *_arm_warnings(analysis),
        *control_warnings(analysis.comparisons),
        *predictor_warnings(analysis.results),
        *_collapse_warnings(analysis),
        *_denoiser_warnings(analysis),
    ]


def not_measured(analysis: Analysis) -> list[str]:
    """What the sweep did not measure, and how to measure it."""
    return list(_not_measured(analysis))


def _not_measured(analysis: Analysis) -> Iterator[str]:
    present = {a.arm for a in analysis.arms}
    if missing := [a for a in NAMES if a not in {*present, *CONTROLS, *SEED_SYSTEMS}]:
        yield (
            f"Arms without a finished trial: {', '.join(missing)}. What their parts add is unknown."
        )
    for control in CONTROLS:
        if control not in present:
            helps = BY_NAME[control].tests
            yield f"No finished `{control}` control: nothing shows that {helps} helps."
    if few := [f"{a.arm} ({a.n})" for a in analysis.arms if a.n < FEWEST_SEEDS]:
        yield (
            f"Other seeds: fewer than {FEWEST_SEEDS} were run of {', '.join(few)}, so intervals "
            "and verdicts there are about these models only."
        )
    if left := unmeasured(analysis.settings):
        yield (
            f"Accuracy on the patches that a model keeps: {left} trial{'s' if left > 1 else ''} of "
            "an older version lack it, and so enter no comparison. `lotus run` measures it; only "
            "the last stage runs again."
        )
    if analysis.essential is None:
        yield (
            "The essential sparsity: no level above 0 was measured against its dense model. "
            "Give `search.sparsity` levels and an arm with pruning."
        )
    elif analysis.essential.bracket[1] is None:
        yield (
            f"Levels beyond the essential sparsity: the highest, {analysis.essential.value:g}, is "
            "still within tolerance. Add higher levels to `search.sparsity`."
        )
    if present and all(a.test_accuracy_mean is None for a in analysis.arms):
        yield "Test accuracy: no finished trial has one."
    yield (
        "The speed of sparse kernels: unstructured masks make nothing faster on dense hardware; "
        "MACs and images per second change through dropped patches only."
    )


def _trial_warnings(analysis: Analysis) -> Iterator[str]:
    total = len(analysis.results)
    if analysis.failed:
        errors = Counter(
            _said(str(r["error"]))
            for r in rows(analysis.results, ["status", "error"])
            if r["status"] == "FAILED" and r["error"] and str(r["error"]).strip()
        )
        most = f" Most frequent error: {errors.most_common(1)[0][0]}" if errors else ""
        yield f"{analysis.failed} of {max(total, analysis.planned)} trials failed.{most}"
    if (left := analysis.planned - analysis.finished - analysis.failed) > 0:
        yield (
            f"{left} of {analysis.planned} planned trials have not ended; the numbers will change."
        )
    if analysis.absent_axes:
        yield (
            f"Axes that no trial carries: {', '.join(analysis.absent_axes)}. Settings that differ "
            "in them only are averaged."
        )


def _said(error: str) -> str:
    """The line that names an error: the last of a traceback, else the first."""
    lines = error.strip().splitlines()
    return lines[-1 if lines[0].startswith("Traceback") else 0].strip()[:160]


def _curve_warnings(analysis: Analysis) -> Iterator[str]:
    if analysis.essential is None:
        return
    value, beyond = analysis.essential.bracket
    points = [
        p for p in rows(analysis.essential.curve, CURVE_COLUMNS)
        if p["sparsity"] > 0 and p["drop"] is not None
    ]  # fmt: skip
    if beyond is None:
        yield (
            f"No level violates the tolerance up to the highest, {value:g}: the essential "
            "sparsity is a lower bound."
        )
    elif beyond == points[0]["sparsity"]:
        yield f"The lowest level, {beyond:g}, already violates the tolerance; add lower levels."
    if beyond is not None and beyond - value > COARSE + TIE:
        yield (
            f"The levels are coarse: the essential sparsity lies between {value:g} and "
            f"{beyond:g}. Add levels between them."
        )
    if odd := _rising(points, analysis.tolerance):
        yield (
            f"The one-shot curve is not monotone: at {', '.join(f'{s:g}' for s in odd)} the drop "
            "is smaller than at a lower level, by more than the tolerance or back within it."
        )
    counts = [p["n"] for p in points]
    if min(counts) < FEWEST_SEEDS:
        models = "dense model" if min(counts) == 1 else "dense models"
        yield (
            f"n = {min(counts)} {models} on the one-shot curve: its intervals hold for these "
            "models, not for other seeds."
        )
    if min(counts) < max(counts):
        yield (
            f"Levels of the one-shot curve rest on {min(counts)} to {max(counts)} dense models; "
            "they are not equally certain."
        )


def _rising(points: Sequence[Row], tolerance: float) -> list[float]:
    odd: list[float] = []
    worst = 0.0
    for p in points:
        returns = worst > tolerance + TIE and p["drop"] <= tolerance + TIE
        if returns or worst - p["drop"] > tolerance + TIE:
            odd.append(p["sparsity"])
        worst = max(worst, p["drop"])
    return odd


def _source_warnings(analysis: Analysis) -> Iterator[str]:
    """Warn if the one-shot curve averages over more than seeds, or lacks image counts."""
    columns = (
        "arm",
        "seed",
        "sparsity",
        "stage.dense",
        "stage.essential",
        "stage.pick",
        Metric.ESSENTIAL_VAL_ACCURACY,
        Metric.ESSENTIAL_VAL_LOST,
        Metric.ESSENTIAL_REFERENCE,
        Metric.DENSE_VAL_ACCURACY,
    )
    table = rows(analysis.measured, columns)
    dense = [r["seed"] for r in dense_models(table) if r["seed"] is not None]
    masks = level_rows([
        r for r in table if r["arm"] in (None, *CURVE_ARMS) and r["stage.essential"] is not None
        and r[Metric.ESSENTIAL_VAL_ACCURACY] is not None
    ])  # fmt: skip
    per_level = grouped(masks, lambda r: (curve_model(r), r["sparsity"]))
    if len(dense) > len(set(dense)) or any(len(g) > 1 for g in per_level):
        yield (
            "An axis of this sweep changes the dense model or the one-shot mask: the one-shot "
            "curve averages over it. Select the trials of one value to see them apart."
        )
    if analysis.essential and any(r[Metric.ESSENTIAL_VAL_LOST] is None for r in masks):
        yield (
            "Some one-shot masks have no count of lost images: their errors are taken as "
            "independent of the dense model's, so the intervals are wider than they need be."
        )


def _arm_warnings(analysis: Analysis) -> Iterator[str]:
    if twice := sorted({s.arm for s in analysis.settings if len(s.trials) > len(s.seeds)}):
        yield (
            f"Several trials share one setting and seed ({', '.join(twice)}): an axis of the "
            "sweep was not named, and they are averaged."
        )


def _collapse_warnings(analysis: Analysis) -> Iterator[str]:
    table = rows(analysis.results, ("arm", Metric.DENSE_VAL_ACCURACY, Metric.ISSP_VAL_ACCURACY))
    drops = [
        r[Metric.DENSE_VAL_ACCURACY] - r[Metric.ISSP_VAL_ACCURACY] for r in table
        if r[Metric.ISSP_VAL_ACCURACY] is not None and r[Metric.DENSE_VAL_ACCURACY] is not None
        and r["arm"] not in MASK_CONTROLS
    ]  # fmt: skip
    collapsed = [d for d in drops if collapses(d)]
    if not collapsed:
        return
    where = (
        "The diagnosis says what caused it."
        if analysis.diagnosis
        else "Look at `issp.merge`, `issp.sparsity_reference` and the achieved sparsity, or vary "
        "one of them at a time in blocks of `search`."
    )
    yield (
        f"ISSP collapse: in {len(collapsed)} of {len(drops)} trials the denoised mask leaves the "
        f"model more than {100 * COLLAPSE:g} points below dense before fine-tuning (worst "
        f"{100 * max(collapsed):.1f} points). {where}"
    )


def _denoiser_warnings(analysis: Analysis) -> Iterator[str]:
    """Warn of the merge that gives the one-shot mask whatever its candidates say (DESIGN 10)."""
    table = rows(analysis.results, ("arm", "issp.merge"))
    silent = [r for r in table if r["arm"] in MASKED and r["issp.merge"] == "isp_literal"]
    if silent:
        yield (
            f"The denoiser cannot act: in {len(silent)} trial{'s' if len(silent) > 1 else ''} "
            "`issp.merge` is isp_literal, so the mask equals one-shot of the same weights, "
            "whatever the look-ahead found. The reading isp_published_votes has a merge that can "
            "differ."
        )
