"""Long files come first, and xdist is told to keep them there."""

from pathlib import Path

import pytest

from tests.conftest import LONGEST_FIRST

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", LONGEST_FIRST)
def test_every_long_file_is_there(name: str) -> None:
    assert (HERE / name).is_file()


def test_the_order_is_kept(request: pytest.FixtureRequest) -> None:
    files = list(dict.fromkeys(str(item.path.relative_to(HERE)) for item in request.session.items))
    long = [name for name in files if name in LONGEST_FIRST]
    assert files[: len(long)] == long == [name for name in LONGEST_FIRST if name in long]
    assert "--dist loadfile --no-loadscope-reorder" in (HERE.parent / "Makefile").read_text()
