"""What Ray does while it starts is changed for so long, and for no longer."""

import json
import subprocess
import sys
from typing import Any

import pytest
from ray._private import utils
from ray._private.node import Node

from orchestrator.ray_internals import starting


def test_workers_import_from_the_folders_that_are_given_when_ray_asks() -> None:
    folders = ["/a"]
    job = starting.job_that_imports(lambda: folders)
    folders.append("/b")
    job._py_driver_sys_path.extend(["/where/the/user/works"])
    assert list(job._py_driver_sys_path) == ["/a", "/b"]


def test_rays_handler_of_sigterm_comes_back() -> None:
    own = utils.set_sigterm_handler
    with starting.no_handler_of_its_own():
        assert utils.set_sigterm_handler is not own
        utils.set_sigterm_handler(None)
    assert utils.set_sigterm_handler is own


class Head:
    """A node whose processes can be ended."""

    ended: Any = None

    def kill_all_processes(self, **how: Any) -> None:
        self.ended = how


@pytest.mark.parametrize("fails", [True, False])
def test_what_a_failed_start_has_begun_is_ended(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "start_head_processes", lambda node: None)
    begin, head = Node.start_head_processes, Head()
    try:
        with starting.nothing_stays_of_a_failure():
            Node.start_head_processes(head)
            if fails:
                raise OSError
    except OSError:
        assert fails
    assert head.ended == ({"check_alive": False, "allow_graceful": False} if fails else None)
    assert Node.start_head_processes is begin


def test_a_ray_for_one_machine_starts_no_process_that_serves_a_cluster() -> None:
    """A whole start, in a process of its own: it is started as a sweep starts it."""
    program = """
import json, psutil, ray
from orchestrator.driver import starting
starting.start(None)
answer = ray.get(ray.remote(lambda: 7).remote())
found = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
print(json.dumps([answer, found]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    answer, processes = json.loads(done.stdout.splitlines()[-1])
    assert answer == 7
    assert any("raylet" in process for process in processes)
    for what in ("monitor.py", "dashboard.py"):
        assert not [process for process in processes if what in process]


def test_another_start_of_ray_is_whole_again() -> None:
    begin, serve = Node.start_head_processes, Node.start_api_server
    with starting.for_one_machine():
        assert Node.start_api_server is not serve
    assert (Node.start_head_processes, Node.start_api_server) == (begin, serve)
