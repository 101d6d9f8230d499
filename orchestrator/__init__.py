"""The sweep: plan, run, track, select, report.

>>> from orchestrator import load_sweep, results, run, select
>>> sweep = load_sweep("digits")                                          # doctest: +SKIP
>>> run(sweep)                                                            # doctest: +SKIP
>>> select(results(sweep)).essential.value                                # doctest: +SKIP
"""

from orchestrator.config import SweepConfig, load_sweep
from orchestrator.driver import Finished, run
from orchestrator.plan import Plan, plan
from orchestrator.results import results
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
