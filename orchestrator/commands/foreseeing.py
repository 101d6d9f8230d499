"""What a sweep would run and cost, for people and for programs: behind `lotus plan`."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.commands.console import trial_count
from orchestrator.costs import device_time
from orchestrator.driver.state import look
from orchestrator.memory import keep
from orchestrator.planning.assuming import Assuming
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import Forecast, forecast
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.planning.plan import plan as make_plan
from orchestrator.storage.store import Store
from trials.reduction.config import tokens_text


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A sweep as it stands and what is left of it.

    Attributes:
        missing: known trials without a finished run.
        failed: of them those whose last run failed.
        assumed: what is not on disk and was assumed, a sentence each; then nothing is looked up
            in the store, because the keys of results follow from data and weights.
    """

    plan: Plan
    predicted: Forecast
    missing: int
    failed: int
    assumed: tuple[str, ...]


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
        "names": [trial.name for trial in planned.trials],
        "tokens": {trial.name: trial.tokens for trial in planned.trials if trial.tokens},
    }


def foreseen_table(seen: Foreseen) -> Table:
    """For people."""
    planned, predicted = seen.plan, seen.predicted
    table = Table(title=Text(planned.sweep.name), title_justify="left", show_header=False)
    again = f", {seen.failed} of them failed before" if seen.failed else ""
    table.add_row("trials", f"{trial_count(planned)}, of which {seen.missing} to run{again}")
    stored = f", of which {predicted.stored} stored" if not seen.assumed else ""
    table.add_row("unique stages", f"{predicted.stages}{stored}")
    table.add_row("shared by two trials or more", str(len(planned.shared)))
    table.add_row("predicted", predicted_words(planned.sweep, predicted))
    for words in dict.fromkeys(token_words(trial) for trial in planned.trials if trial.tokens):
        table.add_row("tokens per block", words)
    table.add_row("store grows by", f"{predicted.bytes / 2**20:,.0f} MiB, of stages seen before")
    return table


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
