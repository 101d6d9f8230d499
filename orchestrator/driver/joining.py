"""Joining a cluster that is there: who answers, and whether it takes our token.

Ray itself asks for twenty seconds, whatever the reason is, and does not name it.
"""

import contextlib
import os
from pathlib import Path

from ray.exceptions import AuthenticationError

from trials.errors import LotusError

ANSWER_S = 10.0
"""Longest wait for the head node's first word."""

TOKEN_PLACES = "RAY_AUTH_TOKEN, a file named by RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token"


class ClusterError(LotusError):
    """The Ray cluster cannot run this sweep."""


def check_joinable(address: str) -> None:
    """Ask the head node once, before Ray does.

    Args:
        address: `auto` or HOST:PORT.

    Raises:
        ClusterError: nobody is there, or it wants a token that we do not have.
    """
    if (host_port := _head(address)) is None:
        return  # it is Ray's to find
    from orchestrator.ray_internals import joining

    try:
        answer = joining.ask(host_port, ANSWER_S)
    except AuthenticationError:
        raise ClusterError(refusal(address)) from None
    if answer == "token":
        raise ClusterError(refusal(address))
    if answer == "silent":
        raise ClusterError(
            f"no Ray cluster at {address}: nothing answers there. Start one (`ray start --head`), "
            "or correct --address."
        )


def refusal(address: str) -> str:
    """Why a cluster that wants a token does not let us in, and what to do."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return (
            f"the Ray cluster at {address} wants a token: set RAY_AUTH_MODE=token here, and the "
            f"cluster's token (`ray get-auth-token` on its head node) in {TOKEN_PLACES}."
        )
    if (source := _token_source()) is None:
        return (
            f"RAY_AUTH_MODE=token is set, but no token is here: put that of the cluster at "
            f"{address} (`ray get-auth-token` on its head node) into {TOKEN_PLACES}."
        )
    return (
        f"the Ray cluster at {address} does not accept the token in {source}: it is another "
        "cluster's, or an old one; `ray get-auth-token` on its head node prints the right one."
    )


def _token_source() -> str | None:
    """Where Ray takes our token from; None where there is none."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        return str(path) if path.read_text(encoding="utf-8").strip() else None
    return None


def _head(address: str) -> str | None:
    """HOST:PORT of the head node; None where that cannot be said before Ray looks for it."""
    if address.startswith("ray://") or (os.environ.get("RAY_USE_TLS") or "0") != "0":
        return None
    from orchestrator.ray_internals import joining

    if address == "auto":
        joining.use_the_token_at_hand()
    try:
        return joining.host_and_port(address)
    except ConnectionError:
        raise ClusterError(
            "no Ray cluster was found on this machine: start one (`ray start --head`), or name "
            "it: --address HOST:PORT."
        ) from None
    except (OSError, ValueError):
        return None
