"""What a screen and a file are shown."""

import pytest
from rich.text import Text

from orchestrator.commands.terminal import (
    can_be_written_over,
    is_screen,
    show_line,
    show_pairs,
    show_text,
)
from tests.orchestrator.commands.screens import log, said, screen

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def test_colours_that_are_asked_for_make_no_screen_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not is_screen(log())
    assert is_screen(screen(80))
    monkeypatch.setenv("TERM", "dumb")
    assert is_screen(screen(80))
    assert not can_be_written_over(screen(80))


def test_a_closed_file_is_no_screen() -> None:
    console = log()
    console.file.close()
    assert not is_screen(console)


def test_a_file_gets_a_line_for_each_pair_whatever_its_length() -> None:
    console = log()
    show_pairs(console, [("a", LONG), ("long", "[red]x[/red]")])
    assert said(console) == f"  a     {LONG}\n  long  [red]x[/red]\n"


@pytest.mark.parametrize("width", [30, 60, 200])
def test_a_screen_breaks_between_words_beside_the_label(width: int) -> None:
    console = screen(width)
    show_pairs(console, [("a", LONG), (Text("long"), Text("b"))], indent=0)
    lines = said(console).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.startswith(("a     ", "long  ", "      ")) for line in lines)
    assert " ".join(" ".join(lines).split()) == f"a {LONG} long b"


def test_what_is_to_be_copied_is_never_broken() -> None:
    for console in (log(), screen(20)):
        show_line(console, LONG)
        assert said(console) == f"{LONG}\n"


def test_a_paragraph_is_broken_on_a_screen_alone() -> None:
    file, narrow = log(), screen(20)
    show_text(file, LONG)
    show_text(narrow, LONG)
    assert said(file) == f"{LONG}\n"
    assert max(map(len, said(narrow).splitlines())) <= 20
    assert said(narrow).split() == LONG.split()
