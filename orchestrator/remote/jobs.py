"""Ray's job API: the only place that talks to it. A sweep has at most one living job."""

import asyncio
import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.driver.interrupts import EXIT_CODE
from orchestrator.driver.joining import ClusterError, refusal
from orchestrator.remote.submitting import START_FILE, STOP_WAIT_S, Submission
from trials.errors import LotusError

ANSWER_S = 60
"""Longest wait for one answer of the dashboard; Ray's own client waits for ever."""

QUIET_S = 60
"""A log that says nothing for so long is asked for again: a laptop that slept hears nothing."""

AWAY_S = 600.0
"""A dashboard that is away for longer is given up; the job itself goes on."""

ENDED_BY_ITSELF = "Interrupted."
"""What a driver says last that has been asked to end, and did."""


class JobError(LotusError):
    """The cluster does not do with a job what it was asked to."""


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted sweep, as Ray knows it.

    Attributes:
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        file: digest of the sweep file that was sent.
        exit_code: of the driver; None while it lives, or when nobody could see it.
    """

    id: str
    status: str
    file: str
    message: str
    start: datetime | None
    end: datetime | None
    exit_code: int | None

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("PENDING", "RUNNING")

    @property
    def code(self) -> int:
        """What `lotus run` would have ended with."""
        if self.status == "SUCCEEDED":
            return 0
        if self.status == "STOPPED":
            return EXIT_CODE
        return self.exit_code if self.exit_code in (1, 2, EXIT_CODE) else 1

    def __str__(self) -> str:
        since = f" since {self.start:%Y-%m-%d %H:%M:%S}" if self.start else ""
        until = f" until {self.end:%Y-%m-%d %H:%M:%S}" if self.end else ""
        return f"job {self.id}: {self.status}{since}{until}"


class Jobs:
    """The jobs of one cluster, reached through its dashboard."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            ClusterError: nobody is there, or our token is not accepted.
        """
        self.address = address
        from orchestrator.ray_internals import job_client

        with _asked(address), _only_this_address():
            self.client = job_client.client(address, ANSWER_S)

    def of(self, identity: str) -> list[Job]:
        """All jobs of a sweep, the oldest first."""
        with _asked(self.address):
            listed = self.client.list_jobs()
        found = {
            int(match[1]): _job(one)
            for one in listed
            if (match := re.fullmatch(re.escape(identity) + r"-(\d+)", one.submission_id or ""))
        }
        return [found[number] for number in sorted(found)]

    def get(self, job_id: str) -> Job:
        """A job as it stands now."""
        with _asked(self.address):
            return _job(self.client.get_job_info(job_id))

    def submit(self, submission: Submission, identity: str) -> tuple[Job, bool]:
        """Start a sweep, unless it runs.

        Returns:
            Its living job, and whether that is a new one.

        Raises:
            JobError: it runs already, with another sweep file.
        """
        for _ in range(5):
            known = self.of(identity)
            if known and known[-1].lives:
                _same_file(known[-1], submission)
                return known[-1], False
            # The id of a job that has ended is never free again.
            number = int(known[-1].id.rsplit("-", 1)[1]) + 1 if known else 1
            try:
                job_id = self._send(submission, f"{identity}-{number}")
            except JobError:
                if len(self.of(identity)) > len(known):
                    continue  # somebody else was faster by a moment
                raise
            return self.get(job_id), True
        raise JobError(f"{identity}: others submit it at this very moment; try again")

    def _send(self, submission: Submission, job_id: str) -> str:
        environment = {**submission.environment, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
        with tempfile.TemporaryDirectory(prefix="lotus-submit-") as folder:
            submission.write(Path(folder))
            with _asked(self.address):
                return str(
                    self.client.submit_job(
                        entrypoint=f"exec python3 {START_FILE}",
                        submission_id=job_id,
                        runtime_env={"working_dir": folder, "env_vars": environment},
                        metadata=submission.metadata,
                    )
                )

    def stop(self, job: Job) -> tuple[Job, bool]:
        """End a living job as Ctrl-C would.

        Returns:
            The job after that, and whether it ended by itself rather than by SIGKILL.
        """
        with _asked(self.address):
            self.client.stop_job(job.id)
        end = time.monotonic() + STOP_WAIT_S + 30
        while (now := self.get(job.id)).lives:
            if time.monotonic() > end:
                raise JobError(f"{now} does not end; ask again, or look at the head node")
            time.sleep(0.5)
        return now, job.status == "PENDING" or ENDED_BY_ITSELF in self.logs(job)[-2000:]

    def logs(self, job: Job) -> str:
        """Everything that a job has printed."""
        with _asked(self.address):
            return str(self.client.get_job_logs(job.id))

    def follow(self, job: Job, write: Callable[[str], None]) -> Job:
        """Show what a job prints until it ends, across lost connections.

        Raises:
            ClusterError: the dashboard has been away for long; the job may go on.
        """
        shown = _Shown(write)
        heard = time.monotonic()
        while True:
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                asyncio.run(self._tail(job.id, shown))
            try:
                now = self.get(job.id)
                heard = time.monotonic()
                if not now.lives:
                    shown.whole(self.logs(job))
                    return now
            except ClusterError:
                if time.monotonic() - heard > AWAY_S:
                    raise
            time.sleep(1.0)

    async def _tail(self, job_id: str, shown: "_Shown") -> None:
        import aiohttp

        position = 0
        chunks = self.client.tail_job_logs(job_id)
        with contextlib.suppress(StopAsyncIteration, aiohttp.ClientError):
            while True:
                text = await asyncio.wait_for(anext(chunks), QUIET_S)
                shown.at(position, text)
                position += len(text)


@dataclass
class _Shown:
    """A log that may be read several times, and is shown once."""

    write: Callable[[str], None]
    count: int = 0

    def at(self, position: int, text: str) -> None:
        """Show what is new of a piece of the log."""
        if new := text[max(0, self.count - position) :]:
            self.write(new)
            self.count = position + len(text)

    def whole(self, text: str) -> None:
        """Show the rest."""
        self.at(0, text)


@contextlib.contextmanager
def _only_this_address() -> Iterator[None]:
    """Ray's client would rather take the address that stands in the environment."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


@contextlib.contextmanager
def _asked(address: str) -> Iterator[None]:
    """Errors of Ray's client in our words."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:
        raise ClusterError(refusal(address)) from None
    except (requests.ConnectionError, requests.Timeout, ConnectionError) as error:
        raise ClusterError(
            f"no Ray dashboard answers at {address}: it is the head node's, port 8265 unless it "
            "was started with another one"
        ) from error
    except (RuntimeError, ValueError, requests.RequestException) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise JobError(f"{address}: {(lines or ['no reason given'])[-1][:300]}") from error


def _job(found: Any) -> Job:
    def moment(milliseconds: int | None) -> datetime | None:
        return datetime.fromtimestamp(milliseconds / 1000).astimezone() if milliseconds else None

    return Job(
        id=found.submission_id,
        status=str(getattr(found.status, "value", found.status)),
        file=(found.metadata or {}).get("lotus.file", ""),
        message=found.message or "",
        start=moment(found.start_time),
        end=moment(found.end_time),
        exit_code=found.driver_exit_code,
    )


def _same_file(job: Job, submission: Submission) -> None:
    if job.file != submission.digest:
        raise JobError(
            f"{submission.sweep.name} runs already, with another sweep file or other overrides "
            f"({job.id}). Wait for its end or stop it (`lotus stop`), then submit again: what is "
            "finished is kept"
        )
