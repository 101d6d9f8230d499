"""Waiting for a tracking store that is away: what counts as away, how long, when to stop asking.

Away is whatever may be mended without us: refused and dropped connections, time-outs, HTTP 408,
429 and 5xx, a locked or full database, one that restarts. Everything else is a wrong call, which
waiting does not mend.
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
"""How long one waits for a store that is away, counted from its last sign of life."""

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Pauses between attempts; the last one is repeated."""

REQUEST_S = 30
"""Longest wait for one answer; MLflow's own 120 s, seven times, would block for a quarter hour."""

PROBE_S = 3.0
"""Longest wait for a sign of life of a store that was away a moment ago."""

IN_PARTS = "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"

LARGE_BYTES = 64 * 2**20
"""A larger artifact is uploaded in parts, where the server can have it so."""

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
    """The tracking store does not answer, for longer than we wait."""


def own_patience() -> None:
    """Have MLflow try each request once and shortly: `patiently` does the waiting.

    Its seven retries with doubling pauses would block a call for minutes, and a created run whose
    answer was lost would be created again. What somebody has set in the environment stays.
    """
    _unless_set("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _unless_set("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_S))
    _unless_set("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    _unless_set("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    _unless_set("PGCONNECT_TIMEOUT", "10")
    # A large file goes in parts to where the server keeps it, not through the server: that would
    # answer only when it has passed everything on, which may take longer than we wait.
    _unless_set(IN_PARTS, "true")
    _unless_set("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(LARGE_BYTES))


def _unless_set(name: str, value: str) -> None:
    """Set a variable of the environment; one that is empty counts as unset."""
    os.environ[name] = os.environ.get(name) or value


def is_away(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, TrackingAway):
        return True
    if isinstance(error, MlflowException):
        if error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            return True
        # MLflow calls a connection that PostgreSQL closed while it restarted a bad request.
        return error.error_code == "BAD_REQUEST" and bool(_LOST_CONNECTION.search(str(error)))
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in TRANSIENT_STATUS
    if isinstance(error, OSError):  # also what requests raises
        return True
    return _of_a_driver(error)


def _of_a_driver(error: BaseException) -> bool:
    """Errors that the libraries below MLflow let through."""
    if type(error).__module__.startswith("sqlalchemy."):
        names = {base.__name__ for base in type(error).__mro__}
        return bool(names & {"OperationalError", "InterfaceError", "TimeoutError"})
    if type(error).__module__.startswith(("botocore.", "boto3.", "s3transfer.")):
        answer = getattr(error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 503)
        return status in TRANSIENT_STATUS
    return False


def refusals() -> tuple[type[Exception], ...]:
    """What is raised where a store, or the place of its artifacts, does not do what is asked."""
    from mlflow.exceptions import MlflowException

    return MlflowException, NotImplementedError, OSError


def reason_of(error: BaseException) -> str:
    """An error in one line, short and without secrets."""
    return redacted(" ".join(f"{error}".split()))[:REASON_CHARACTERS] or type(error).__name__


LOCKED = "database is locked"
"""What SQLite says while another program writes for longer than it waits."""

REMEDIES = {
    LOCKED: "Another program holds it: end that one",
    "disk is full": "Its file system is full: free space there",
    "No space left": "Its file system is full: free space there",
    "readonly database": "It is read-only: make it writable",
}
"""What a database file says -> what to do."""


def _remedy(reason: str) -> str:
    return next((what for sign, what in REMEDIES.items() if sign in reason), "Start it")


def pauses() -> Iterator[float]:
    """Pauses between attempts, without end."""
    return chain(PAUSES_S, repeat(PAUSES_S[-1]))


@dataclass(slots=True)
class Breaker:
    """Whether a store was away for all of `PATIENCE_S`; from then on it is asked once and shortly.

    Attributes:
        tripped: it was; the next answer resets it.
    """

    uri: str
    tripped: bool = False

    def probe(self) -> None:
        """Look for a sign of life before a call that could hang, if it was away before.

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
    own = breaker or Breaker("")
    deadline = time.monotonic() + (0.0 if own.tripped else PATIENCE_S)
    for pause in pauses():
        try:
            own.probe()
            found = call()
        except Exception as error:
            if not is_away(error):
                raise
            if time.monotonic() + pause > deadline:
                own.tripped = True
                reason = reason_of(error)
                raise TrackingAway(
                    f"the tracking store does not answer: {reason}. "
                    f"{_remedy(reason)} and run the same command again; nothing is lost."
                ) from error
            if LOCKED in f"{error}":
                # An interrupt can leave a transaction open in frames that wait for the collector.
                gc.collect()
        else:
            own.tripped = False
            return found
        metrics.count(metrics.MLFLOW_RETRIES)
        time.sleep(pause)
    raise AssertionError("unreachable")
