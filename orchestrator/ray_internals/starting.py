"""What Ray does while it starts, and asks nobody: its folder, its handlers, its import path."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private import utils
from ray._private.node import Node

from orchestrator.ray_internals.ending import shut_down

SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest of the sockets that Ray makes below its folder."""


def own_folder() -> str:
    """Where Ray would keep its sockets, below `ray`."""
    return str(get_default_system_temp_dir())


def in_folder(folder: str) -> dict[str, str]:
    """What `ray.init` is told so that it keeps its files somewhere else; it has no public name."""
    return {"_temp_dir": folder}


def job_that_imports(folders: Callable[[], list[str]]) -> Any:
    """A job whose processes import from these folders, and from no other that Ray would add.

    Ray adds the working directory and that of the program, and asks nobody. A `types.py` there
    would end every worker.

    Args:
        folders: asked when Ray is connected.
    """

    class OwnPath(list[str]):
        """What the driver's folders add to the import path of its workers."""

        def extend(self, added: Iterable[str]) -> None:
            super().extend(folders())

    job = ray.job_config.JobConfig()
    job._py_driver_sys_path = OwnPath()
    return job


@contextlib.contextmanager
def no_handler_of_its_own() -> Iterator[None]:
    """Ray puts a handler of SIGTERM in the place of ours, which ends a sweep cleanly."""
    own = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = own


@contextlib.contextmanager
def for_one_machine() -> Iterator[None]:
    """Start without what serves a cluster: the autoscaler's monitor, log monitor and API server.

    Nobody asks them on a Ray that one sweep starts for itself, and each is a Python process that
    takes half a second or more of the time before the first trial.
    """
    begin, serve = Node.start_head_processes, Node.start_api_server

    def beginning(node: Any) -> None:
        node._ray_params.no_monitor, node._ray_params.include_log_monitor = True, False
        begin(node)

    def not_serving(node: Any, **_: Any) -> None:
        node._webui_url = None

    Node.start_head_processes, Node.start_api_server = beginning, not_serving
    try:
        yield
    finally:
        Node.start_head_processes, Node.start_api_server = begin, serve


@contextlib.contextmanager
def nothing_stays_of_a_failure() -> Iterator[None]:
    """Where a start fails, Ray leaves what it has started to the end of this process."""
    begun: list[Any] = []
    begin = Node.start_head_processes

    def beginning(node: Any) -> None:
        begun.append(node)
        begin(node)

    Node.start_head_processes = beginning
    try:
        yield
    except BaseException:
        for node in begun:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        shut_down()
        raise
    finally:
        Node.start_head_processes = begin
