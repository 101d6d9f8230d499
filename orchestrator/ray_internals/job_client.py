"""Ray's client of its job API, which would wait for ever and tell of every step."""

import logging
from typing import Any

from ray.job_submission import JobSubmissionClient

CHATTY = (
    "dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk",
    "_private.runtime_env.packaging", "_private.authentication.http_token_authentication",
)  # fmt: skip
"""Loggers of Ray that tell of every step."""


def client(address: str, answer_s: float) -> Any:
    """Ray's client of the jobs of a cluster, connected to its dashboard.

    Args:
        answer_s: longest wait for one answer of the dashboard.
    """
    for name in CHATTY:  # they set their levels when they are imported
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
    return _Impatient(address, answer_s)


class _Impatient(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which does not wait for ever."""

    def __init__(self, address: str, answer_s: float) -> None:
        self.answer_s = answer_s
        super().__init__(address)

    def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
        return super()._do_request(method, endpoint, **{"timeout": self.answer_s} | more)
