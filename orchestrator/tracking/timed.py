"""A client whose calls are timed."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from orchestrator import metrics
from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.patience import is_away

P = ParamSpec("P")
T = TypeVar("T")


class TimedClient(Forwarding):
    """Passes every call on and times it, by its kind."""

    def _passed(self, kind: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        start = time.perf_counter()
        try:
            answer = call(*args, **kwargs)
        except Exception as error:
            reason = "away" if is_away(error) else "refused"
            metrics.count(metrics.MLFLOW_ERRORS, call=kind, reason=reason)
            raise
        metrics.observe(metrics.MLFLOW_SECONDS, time.perf_counter() - start, call=kind)
        return answer
