"""A server of MLflow, and what its admins make before it counts as healthy: buckets, accounts.

Ray's nodes run what sweeps and jobs bring along, so what a node holds may do no more than a sweep
needs. Its account at MLflow reads and writes runs in every experiment, deletes runs only in
experiments that it has made itself, and never an experiment; of users and their rights it knows
its own. The object store's account of the nodes is in `s3/start.sh`. The admins' passwords are in
the environment of the servers alone.

python -P -m orchestrator.deploy.accounts mlflow server ...
    starts the server, makes the accounts and writes `READY`; ends as the server does.
python -P -m orchestrator.deploy.accounts
    makes them at a server that runs.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SERVER = "http://127.0.0.1:5000"
"""MLflow, as it is reached from its own container."""

READY = Path(tempfile.gettempdir()) / "accounts-made"
"""Is there when everything is made; the health check looks for it."""

BUCKETS = ("artifacts", "stages")

NODES = "nodes"
"""User of Ray's nodes at MLflow, and the role that holds its rights."""

WORKSPACE = "default"
"""MLflow's only one, unless workspaces are turned on."""

RIGHTS = {
    ("experiment", "*"): "EDIT",
    # Nobody deletes an experiment without the right to delete all that is in it. Traces are what
    # no sweep has, so this right, which is less, takes away only that: from experiments that the
    # nodes have made, too, which MLflow would let them manage.
    ("trace", "*"): "READ",
}
"""What the nodes may do beyond their own experiments: (kind, which) -> permission."""

PATIENCE_S = 600.0
PAUSE_S = 0.5


def main(arguments: Sequence[str]) -> int:
    """With a command: run it and make the accounts beside it. Its exit code, or 1."""
    if not arguments:
        return _make()
    READY.unlink(missing_ok=True)
    server = subprocess.Popen(list(arguments))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: server.send_signal(got))
    # A process of its own: what it imports goes away with it, the server's starter stays for long.
    maker = subprocess.Popen(
        [sys.executable, "-P", "-m", "orchestrator.deploy.accounts"], env=_as_admin(os.environ)
    )
    while (made := maker.poll()) is None and server.poll() is None:
        time.sleep(PAUSE_S)
    if made == 0:
        READY.touch()
        return server.wait()
    if made is None:  # the server has ended, and says why
        maker.kill()
        maker.wait()
        return server.wait() or 1
    server.terminate()
    server.wait()
    return 1


def _make() -> int:
    """Make all of it; exit code 0, or 1 with a sentence."""
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException

    try:
        make_buckets()
        make_accounts(os.environ["LOTUS_NODES_PASSWORD"])
    except (BotoCoreError, ClientError, OSError, MlflowException) as error:
        why = f"The accounts of the nodes cannot be made: {error}"
        if isinstance(error, MlflowException) and error.error_code == "UNAUTHENTICATED":
            why += (
                "\nMLflow keeps the admin's password with which it first started: put that one "
                "into .env as MLFLOW_PASSWORD."
            )
        print(why, file=sys.stderr)
        return 1
    return 0


def _as_admin(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a client with the admin's account."""
    return {
        "MLFLOW_TRACKING_URI": SERVER,
        **environment,
        "MLFLOW_TRACKING_USERNAME": environment["MLFLOW_AUTH_ADMIN_USERNAME"],
        "MLFLOW_TRACKING_PASSWORD": environment["MLFLOW_AUTH_ADMIN_PASSWORD"],
    }


def make_buckets() -> None:
    """Those of `BUCKETS` that are not there; only the store's admin may.

    Raises:
        OSError: the store does not answer.
    """
    import boto3

    store = boto3.client("s3")
    have = {bucket["Name"] for bucket in _until_it_answers(store.list_buckets)["Buckets"]}
    for name in BUCKETS:
        if name not in have:
            store.create_bucket(Bucket=name)


def make_accounts(password: str) -> None:
    """See that the nodes' account is there, with this password and these rights and no others.

    Raises:
        OSError: the server does not answer.
        MlflowException: it does not let this admin in.
    """
    from mlflow.exceptions import RestException
    from mlflow.server import get_app_client

    server = os.environ["MLFLOW_TRACKING_URI"]
    _until_it_answers(lambda: urllib.request.urlopen(f"{server}/health", timeout=5).close())
    client: Any = get_app_client("basic-auth", server)
    try:
        client.create_user(NODES, password)
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_user_password(NODES, password)
        client.update_user_admin(NODES, False)
    role = _role(client)
    have = {}
    for one in client.list_role_permissions(role):
        if RIGHTS.get((one.resource_type, one.resource_pattern)) == one.permission:
            have[one.resource_type, one.resource_pattern] = one.permission
        else:
            client.remove_role_permission(one.id)
    for (kind, which), permission in RIGHTS.items():
        if (kind, which) not in have:
            client.add_role_permission(role, kind, which, permission)
    if role not in [one.id for one in client.list_user_roles(NODES)]:
        client.assign_role(NODES, role)


def _role(client: Any) -> int:
    """Id of the nodes' role, which is made if it is not there."""
    found = [role for role in client.list_roles(WORKSPACE) if role.name == NODES]
    role = found[0] if found else client.create_role(WORKSPACE, NODES, "What a sweep needs")
    return int(role.id)


def _until_it_answers(ask: Callable[[], Any]) -> Any:
    """An answer; a server that is not there yet is asked again."""
    from botocore.exceptions import ClientError, HTTPClientError

    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except (OSError, HTTPClientError, ClientError) as error:
            refused = isinstance(error, ClientError | urllib.error.HTTPError)
            if (refused and _status(error) < 500) or time.monotonic() > end:
                raise
        time.sleep(PAUSE_S)


def _status(error: Exception) -> int:
    """Of an HTTP answer."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
