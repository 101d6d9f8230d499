"""What a sweep would run and cost, for people and for programs: behind `lotus plan`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.commands.console import trial_count
from orchestrator.costs import device_time
from orchestrator.driver.state import look
from orchestrator.memory import keep
from orchestrator.planning.assuming import Assuming
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import Forecast, forecast
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.planning.plan import plan as make_plan
from orchestrator.selection.resolution import Resolution, resolution, words
from orchestrator.storage.keys import canonical
from orchestrator.storage.store import Store
from trials.arms import CONTROLS, DENSE
from trials.reduction.config import tokens_text


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A sweep as it stands and what is left of it.

    Attributes:
        missing: known trials without a finished run.
        failed: of them those whose last run failed.
        assumed: what is not on disk and was assumed, a sentence each; then nothing is looked up
            in the store, because the keys of results follow from data and weights.
        resolution: the smallest difference that can be told apart; None with a single setting.
    """

    plan: Plan
    predicted: Forecast
    missing: int
    failed: int
    assumed: tuple[str, ...]
    resolution: Resolution | None


def foresee(sweep: SweepConfig) -> Foreseen:
    """Plan a sweep; for a process that ends soon.

    Raises:
        DataError, ModelError: data or weights cannot be used.
    """
    find = Assuming()
    planned = make_plan(sweep, find=find)
    keep()  # all of it stays until this process ends, in a moment
    state = None if find.said else look(sweep, planned)
    if state is not None:
        planned = state.plan
    done = state.finished if state else set()
    children = state.children if state else {}
    failed = sum(
        trial.key in children and children[trial.key].status in ("FAILED", "KILLED")
        for trial in planned.trials
    )
    return Foreseen(
        plan=planned,
        predicted=forecast(planned, Store(sweep.storage.path).entries(), done),
        missing=sum(trial.key not in done for trial in planned.trials),
        failed=failed,
        assumed=tuple(find.said),
        resolution=resolution_of(planned),
    )


def resolution_of(planned: Plan) -> Resolution | None:
    """How small a difference this sweep can tell apart; None where nothing is compared.

    The report's largest family counts: every arm against `dense`, or against the controls.
    """
    full = [trial for trial in planned.trials if not trial.config.rungs]
    seeds: dict[str, set[int]] = {}
    settings: dict[str, set[str]] = {}
    for trial in full:
        arm, axes = trial.config.arm, trial.axes | {"seed": None}
        seeds.setdefault(arm, set()).add(trial.config.seed)
        settings.setdefault(arm, set()).add(canonical(axes))
    count = sum(map(len, settings.values()))
    if count < 2 or not planned.images:
        return None
    others, controls = settings.keys() - {DENSE}, settings.keys() & set(CONTROLS)
    return resolution(
        seeds=min(map(len, seeds.values())),
        images=min(planned.images),
        settings=count,
        comparisons=max(1, len(others) if DENSE in settings else 0, len(controls)),
    )


def foreseen_json(seen: Foreseen) -> dict[str, Any]:
    """For programs."""
    planned = seen.plan
    return {
        "sweep": planned.sweep.name,
        "trials": {
            "planned": planned.expected,
            "missing": seen.missing + planned.more,
            "failed": seen.failed,
        },
        "complete": planned.complete,
        **asdict(seen.predicted),
        "assumed": list(seen.assumed),
        "smallest_difference": asdict(seen.resolution) if seen.resolution else None,
        "names": [trial.name for trial in planned.trials],
        "tokens": {trial.name: trial.tokens for trial in planned.trials if trial.tokens},
    }


def foreseen_rows(seen: Foreseen) -> Iterator[tuple[str, str]]:
    """For people."""
    planned, predicted = seen.plan, seen.predicted
    again = f", {seen.failed} of them failed before" if seen.failed else ""
    yield "trials", f"{trial_count(planned)}, of which {seen.missing} to run{again}"
    stored = f", of which {predicted.stored} stored" if not seen.assumed else ""
    yield "unique stages", f"{predicted.stages}{stored}"
    yield "shared stages", f"{len(planned.shared)}, each of two trials or more"
    yield "predicted", predicted_words(planned.sweep, predicted)
    if seen.resolution is not None:
        yield "smallest difference told apart", words(seen.resolution)
    for tokens in dict.fromkeys(token_words(trial) for trial in planned.trials if trial.tokens):
        yield "tokens per block", tokens
    yield "store grows by", f"{predicted.bytes / 2**20:,.0f} MiB, of stages seen before"


def token_words(trial: PlannedTrial) -> str:
    """`65/49/33/17 → 9 (tome, r 16)`."""
    drop = trial.axes.get("patch_drop")
    tickets = f", patch_drop {drop:g}" if drop else ""
    return f"{tokens_text(trial.tokens)} ({trial.config.reduction.words}{tickets})"


def predicted_words(sweep: SweepConfig, predicted: Forecast) -> str:
    """`3.0 CPU-minutes, usually within ×1.2 (80 % from this store's own measurements)`."""
    basis = f"{100 * predicted.measured:.0f} % from this store's own measurements"
    if predicted.measured == 0:
        basis = "a guess: this store has measured nothing yet"
    said = device_time(predicted.device_hours, "gpu" if sweep.resources.gpu else "cpu")
    if predicted.measured > 0 and predicted.error_factor is not None:
        said += f", usually within ×{predicted.error_factor:.1f}"
    return f"{said} ({basis})"
