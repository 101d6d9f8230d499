"""Long files come first, xdist is told to keep them there, and one process begins at the end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.conftest import LONGEST_FIRST, FromBothEnds

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", LONGEST_FIRST)
def test_every_long_file_is_there(name: str) -> None:
    assert (HERE / name).is_file()


def test_the_order_is_kept(request: pytest.FixtureRequest) -> None:
    files = list(dict.fromkeys(str(item.path.relative_to(HERE)) for item in request.session.items))
    long = [name for name in files if name in LONGEST_FIRST]
    assert files[: len(long)] == long == [name for name in LONGEST_FIRST if name in long]
    assert "--dist loadfile --no-loadscope-reorder" in (HERE.parent / "Makefile").read_text()


class Process:
    """A process of xdist that notes what it is given."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.given += numbers


def given_to(processes: int, files: int) -> list[list[int]]:
    """What each gets at the start, of files with one test each."""
    options = SimpleNamespace(loadscopereorder=False)
    config = SimpleNamespace(getvalue=lambda _: [f"{processes}*popen"], option=options)
    scheduler = FromBothEnds(cast(Any, config))
    made: list[Any] = [Process(number) for number in range(processes)]
    for one in made:
        scheduler.add_node(one)
        scheduler.add_node_collection(one, [f"test_{number}.py::test" for number in range(files)])
    scheduler.schedule()
    return [one.given for one in made]


def test_the_last_process_takes_files_from_the_back() -> None:
    assert given_to(3, 20) == [[0, 2], [1, 3], [19, 18]]
    assert given_to(1, 20) == [[0, 1]]


def test_it_is_used(request: pytest.FixtureRequest) -> None:
    ask = request.config.hook.pytest_xdist_make_scheduler
    options = {"dist": "loadfile", "tx": ["2*popen"]}
    config = SimpleNamespace(getvalue=options.get)
    assert type(ask(config=config, log=None)).__name__ == "FromBothEnds"
    assert ask(config=SimpleNamespace(getvalue={"dist": "load"}.get), log=None) is None
