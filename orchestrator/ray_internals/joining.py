"""The first question to a head node, before Ray asks it for twenty seconds and names no reason."""

from typing import Literal

import grpc
from ray._private import services
from ray._private.authentication import authentication_token_setup, http_token_authentication
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

Answer = Literal["yes", "token", "silent"]
"""Of a head node: it takes us, it wants another token, or nobody is there."""


def use_the_token_at_hand() -> None:
    """As Ray does: what was found on this machine may use the token that lies here."""
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def host_and_port(address: str) -> str:
    """HOST:PORT of the head node, as Ray itself finds it.

    Raises:
        ConnectionError: `auto`, and there is no cluster on this machine.
        OSError, ValueError: it is no such address.
    """
    return str(services.canonicalize_bootstrap_address_or_die(address))


def ask(host_port: str, timeout_s: float) -> Answer:
    """Make the first call that Ray would make, once.

    Raises:
        ray.exceptions.AuthenticationError: a token is asked for here, and there is none.
    """
    headers = http_token_authentication.get_auth_headers_if_auth_enabled({})
    token = tuple((name.lower(), value) for name, value in headers.items())
    with grpc.insecure_channel(host_port) as channel:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            head.GetClusterId(
                gcs_service_pb2.GetClusterIdRequest(), timeout=timeout_s, metadata=token
            )
        except grpc.RpcError as error:
            return "token" if error.code() == grpc.StatusCode.UNAUTHENTICATED else "silent"
    return "yes"
