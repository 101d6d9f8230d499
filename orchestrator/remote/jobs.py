"""Ray's job API; only this module uses it. A sweep has at most one living job."""

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
from orchestrator.vocabulary import JobTag
from trials.errors import LotusError

ANSWER_S = 60
"""Longest wait for one answer of the dashboard; Ray's client would wait for ever."""

QUIET_S = 60
"""A silent log is requested again after this time, because a laptop may have been asleep."""

AWAY_S = 600.0
"""A dashboard that is away for longer is given up; the job itself continues."""

ENDED_BY_ITSELF = "Interrupted."
"""Last output of a driver that ended as asked."""


class JobError(LotusError):
    """The cluster refuses a request about a job."""


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted sweep as a job of Ray.

    Attributes:
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        file: digest of the submitted sweep file.
        exit_code: of the driver; None while it is alive, or if it is unknown.
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
        """Whether the job has not ended."""
        return self.status in ("PENDING", "RUNNING")

    @property
    def code(self) -> int:
        """The exit code that `lotus run` would have had."""
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
            ClusterError: the dashboard does not answer, or does not accept our token.
        """
        self.address = address
        from orchestrator.ray_internals import job_client

        with _our_errors(address), _only_this_address():
            self.client = job_client.client(address, ANSWER_S)

    def of(self, identity: str) -> list[Job]:
        """All jobs of a sweep, the oldest first."""
        with _our_errors(self.address):
            listed = self.client.list_jobs()
        jobs_by_number = {
            int(match[1]): _job(info)
            for info in listed
            if (match := re.fullmatch(re.escape(identity) + r"-(\d+)", info.submission_id or ""))
        }
        return [jobs_by_number[number] for number in sorted(jobs_by_number)]

    def get(self, job_id: str) -> Job:
        """The current state of a job."""
        with _our_errors(self.address):
            return _job(self.client.get_job_info(job_id))

    def submit(self, submission: Submission, identity: str) -> tuple[Job, bool]:
        """Start a sweep, unless it is running.

        Returns:
            Its living job, and whether the job is new.

        Raises:
            JobError: the sweep is running with another sweep file.
        """
        for _ in range(5):
            jobs = self.of(identity)
            if jobs and jobs[-1].lives:
                _same_file(jobs[-1], submission)
                return jobs[-1], False
            # Ids of ended jobs cannot be used again.
            number = int(jobs[-1].id.rsplit("-", 1)[1]) + 1 if jobs else 1
            try:
                job_id = self._send(submission, f"{identity}-{number}")
            except JobError:
                if len(self.of(identity)) > len(jobs):
                    continue  # somebody else submitted it at the same moment
                raise
            return self.get(job_id), True
        raise JobError(f"{identity}: somebody else is submitting it at this moment; try again")

    def _send(self, submission: Submission, job_id: str) -> str:
        environment = {**submission.environment, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
        with tempfile.TemporaryDirectory(prefix="lotus-submit-") as folder:
            submission.write(Path(folder))
            with _our_errors(self.address):
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
        with _our_errors(self.address):
            self.client.stop_job(job.id)
        end = time.monotonic() + STOP_WAIT_S + 30
        while (current := self.get(job.id)).lives:
            if time.monotonic() > end:
                raise JobError(f"{current} does not end; ask again, or look at the head node")
            time.sleep(0.5)
        return current, job.status == "PENDING" or ENDED_BY_ITSELF in self.logs(job)[-2000:]

    def logs(self, job: Job) -> str:
        """The complete output of a job."""
        with _our_errors(self.address):
            return str(self.client.get_job_logs(job.id))

    def follow(self, job: Job, write: Callable[[str], None]) -> Job:
        """Show a job's output until it ends, reconnecting if need be.

        Raises:
            ClusterError: the dashboard was away for too long; the job may still be running.
        """
        shown = _Shown(write)
        heard = time.monotonic()
        while True:
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                asyncio.run(self._tail(job.id, shown))
            try:
                current = self.get(job.id)
                heard = time.monotonic()
                if not current.lives:
                    shown.whole(self.logs(job))
                    return current
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
    """Shows a log once, even if it is read several times."""

    write: Callable[[str], None]
    count: int = 0

    def at(self, position: int, text: str) -> None:
        """Show the new part of a piece of the log."""
        if new := text[max(0, self.count - position) :]:
            self.write(new)
            self.count = position + len(text)

    def whole(self, text: str) -> None:
        """Show the rest of the complete log."""
        self.at(0, text)


@contextlib.contextmanager
def _only_this_address() -> Iterator[None]:
    """Hide addresses in the environment, which Ray's client would prefer."""
    variables = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    before = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


@contextlib.contextmanager
def _our_errors(address: str) -> Iterator[None]:
    """Turn errors of Ray's client into ours."""
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


def _job(info: Any) -> Job:
    def moment(milliseconds: int | None) -> datetime | None:
        return datetime.fromtimestamp(milliseconds / 1000).astimezone() if milliseconds else None

    return Job(
        id=info.submission_id,
        status=str(getattr(info.status, "value", info.status)),
        file=(info.metadata or {}).get(JobTag.FILE, ""),
        message=info.message or "",
        start=moment(info.start_time),
        end=moment(info.end_time),
        exit_code=info.driver_exit_code,
    )


def _same_file(job: Job, submission: Submission) -> None:
    if job.file != submission.digest:
        raise JobError(
            f"{submission.sweep.name} runs already, with another sweep file or other overrides "
            f"({job.id}). Wait for its end or stop it (`lotus stop`), then submit again: what is "
            "finished is kept"
        )
