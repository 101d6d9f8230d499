"""Waiting for a tracking store that is away: what counts as away, for how long, when to give up.

Away is whatever may pass without our doing: refused and dropped connections, time-outs, HTTP 408,
429 and 5xx, a database that is locked, full or restarting. Everything else is a wrong call, and
waiting does not help.
"""

import gc
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeVar

import requests

from orchestrator import metrics
from orchestrator.secrets import redacted
from trials.errors import LotusError

PATIENCE_S = 60.0
"""How long to wait for a store that is away, counted from its last sign of life."""

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Pauses between attempts; the last one is repeated."""

REQUEST_S = 30
"""Longest wait for one answer; MLflow's default, seven times 120 s, would block for 14 minutes."""

PROBE_S = 3.0
"""Longest wait for a sign of life of a store that was away a moment ago."""

IN_PARTS = "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"

LARGE_BYTES = 64 * 2**20
"""Larger artifacts are uploaded in parts, if the server supports that."""

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})

REASON_CHARACTERS = 300

T = TypeVar("T")

_LOST_CONNECTION = re.compile(
    r"InterfaceError|QueuePool limit|invalid transaction|closed the connection"
    r"|connection (?:already |was )?closed|terminating connection"
)


class TrackingError(LotusError):
    """The tracking store cannot be used."""


class TrackingAway(TrackingError):  # noqa: N818 - a state of the store, not of a call
    """The tracking store did not answer for as long as we wait."""


def own_patience() -> None:
    """Make MLflow try each request once, with a short time-out: `patiently` does the waiting.

    MLflow's seven retries with doubling pauses would block a call for minutes, and create a run
    again whose answer was lost. Variables that are already set stay.
    """
    _unless_set("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _unless_set("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_S))
    _unless_set("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    _unless_set("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    _unless_set("PGCONNECT_TIMEOUT", "10")
    # Large files go in parts to the server's storage, not through the server, which would answer
    # only after passing everything on. That may take longer than we wait.
    _unless_set(IN_PARTS, "true")
    _unless_set("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(LARGE_BYTES))


def _unless_set(variable: str, value: str) -> None:
    """Set an environment variable; an empty one counts as unset."""
    os.environ[variable] = os.environ.get(variable) or value


def is_away(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, TrackingAway):
        return True
    if isinstance(error, MlflowException):
        if error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            return True
        # A connection closed by a restarting PostgreSQL is a "bad request" to MLflow.
        return error.error_code == "BAD_REQUEST" and bool(_LOST_CONNECTION.search(str(error)))
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in TRANSIENT_STATUS
    if isinstance(error, OSError):  # also what requests raises
        return True
    return _of_a_driver(error)


def _of_a_driver(error: BaseException) -> bool:
    """Whether an error of the libraries below MLflow may pass."""
    if type(error).__module__.startswith("sqlalchemy."):
        classes = {base.__name__ for base in type(error).__mro__}
        return bool(classes & {"OperationalError", "InterfaceError", "TimeoutError"})
    if type(error).__module__.startswith(("botocore.", "boto3.", "s3transfer.")):
        answer = getattr(error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 503)
        return status in TRANSIENT_STATUS
    return False


def refusals() -> tuple[type[Exception], ...]:
    """Errors of a store, or of its artifact storage, that refuses a request."""
    from mlflow.exceptions import MlflowException

    return MlflowException, NotImplementedError, OSError


def reason_of(error: BaseException) -> str:
    """An error in one line, short and without secrets."""
    return redacted(" ".join(f"{error}".split()))[:REASON_CHARACTERS] or type(error).__name__


LOCKED = "database is locked"
"""SQLite's message when another program writes for longer than it waits."""

REMEDIES = {
    LOCKED: "Another program holds it: end that one",
    "disk is full": "Its file system is full: free space there",
    "No space left": "Its file system is full: free space there",
    "readonly database": "It is read-only: make it writable",
}
"""Error of a database file -> what to do."""


def _remedy(reason: str) -> str:
    return next((remedy for sign, remedy in REMEDIES.items() if sign in reason), "Start it")


def pauses() -> Iterator[float]:
    """Pauses between attempts, without end."""
    return chain(PAUSES_S, repeat(PAUSES_S[-1]))


@dataclass(slots=True)
class Breaker:
    """Remembers that a store was away for all of `PATIENCE_S`; it is then tried only once per call.

    Attributes:
        tripped: whether it was; the next answer resets it.
    """

    uri: str
    tripped: bool = False

    def probe(self) -> None:
        """If the store was away, look for a sign of life before a call that could hang.

        Raises:
            TrackingAway: there is none.
        """
        if not self.tripped or not self.uri.startswith("http"):
            return
        try:
            answer = requests.get(self.uri.rstrip("/") + "/health", timeout=PROBE_S)
        except requests.RequestException as error:
            raise TrackingAway(reason_of(error)) from error
        if answer.status_code in TRANSIENT_STATUS:
            raise TrackingAway(f"HTTP {answer.status_code}")


def patiently(call: Callable[[], T], breaker: Breaker | None = None) -> T:
    """Make a call to the tracking store, waiting for one that is away.

    Args:
        breaker: when it is tripped, the call is tried once.

    Raises:
        TrackingAway: it was away for `PATIENCE_S`.
        MlflowException: the call is wrong.
    """
    state = breaker or Breaker("")
    deadline = time.monotonic() + (0.0 if state.tripped else PATIENCE_S)
    for pause in pauses():
        try:
            state.probe()
            answer = call()
        except Exception as error:
            if not is_away(error):
                raise
            if time.monotonic() + pause > deadline:
                state.tripped = True
                reason = reason_of(error)
                raise TrackingAway(
                    f"the tracking store does not answer: {reason}. "
                    f"{_remedy(reason)} and run the same command again; nothing is lost."
                ) from error
            if LOCKED in f"{error}":
                # An interrupt can leave a transaction open in frames that are garbage by now.
                gc.collect()
        else:
            state.tripped = False
            return answer
        metrics.count(metrics.MLFLOW_RETRIES)
        time.sleep(pause)
    raise AssertionError("unreachable")
