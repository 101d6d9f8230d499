"""The sweep: plan, run, track, select, report.

>>> from orchestrator import load_sweep, results, run, select
>>> sweep = load_sweep("digits")                                          # doctest: +SKIP
>>> run(sweep)                                                            # doctest: +SKIP
>>> select(results(sweep)).essential.value                                # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from orchestrator.lazily import imported_on_use

if TYPE_CHECKING:
    from orchestrator.driver.driver import Finished, run
    from orchestrator.planning.config import SweepConfig
    from orchestrator.planning.plan import Plan, plan
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.reading.tables import results
    from orchestrator.selection import Selection, select

__all__ = [
    "Finished",
    "Plan",
    "Selection",
    "SweepConfig",
    "load_sweep",
    "plan",
    "results",
    "run",
    "select",
]

__getattr__ = imported_on_use(
    __name__,
    {
        "SweepConfig": "planning.config",
        "load_sweep": "planning.sweepfile",
        "Finished": "driver.driver",
        "run": "driver.driver",
        "Plan": "planning.plan",
        "plan": "planning.plan",
        "results": "reading.tables",
        "Selection": "selection",
        "select": "selection",
    },
)
