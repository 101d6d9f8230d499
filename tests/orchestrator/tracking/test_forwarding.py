"""What stands before MLflow's client passes on what it does not change."""

import inspect
from typing import Any

import pytest

from orchestrator.tracking.connection import LateClient
from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.places import Beside
from orchestrator.tracking.plain_sql import PlainSql
from orchestrator.tracking.port import Client
from orchestrator.tracking.timed import TimedClient

CALLS = {name: call for name, call in vars(Client).items() if inspect.isfunction(call)}
CALLS = {name: call for name, call in CALLS.items() if not name.startswith("_")}


class Recorder:
    """Takes every call, and gives what it was called with."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: (name, *args, *kwargs.items())


def test_there_are_calls_to_pass_on() -> None:
    assert {"get_run", "log_batch", "list_artifacts"} <= CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", [Forwarding, TimedClient])
def test_every_argument_arrives_in_its_place(kind: type[Forwarding], name: str) -> None:
    """Methods that give nothing pass everything on all the same: see what the next one is told."""
    told: list[Any] = []
    recorder: Any = Recorder()
    client = kind(recorder)
    given = [f"{one} of {name}" for one in list(inspect.signature(CALLS[name]).parameters)[1:]]
    setattr(recorder, name, lambda *args: told.append(args) or "answer")
    answer = getattr(client, name)(*given)
    assert told == [tuple(given)]
    gives = inspect.signature(CALLS[name]).return_annotation is not None
    assert answer == ("answer" if gives else None)


def taken(call: Any) -> list[tuple[str, Any]]:
    """Names and defaults of arguments, in order."""
    return [(one.name, one.default) for one in inspect.signature(call).parameters.values()]


@pytest.mark.parametrize("kind", [Forwarding, TimedClient, LateClient, PlainSql, Beside])
def test_all_take_what_the_port_says(kind: type[Forwarding]) -> None:
    for name, call in CALLS.items():
        assert taken(getattr(kind, name)) == taken(call), name
    assert not hasattr(kind, "__getattr__"), "each call is written out, so that types are checked"
