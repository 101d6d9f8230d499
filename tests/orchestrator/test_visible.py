"""Characters that nobody sees reach neither the terminal nor a page."""

import sys

from dashboards.text import clean
from orchestrator.visible import unseen, visible


def test_a_page_shows_none_of_the_characters_that_the_terminal_does_not() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        hidden = clean(character) != character
        assert hidden == (visible(character) != character), f"U+{code:04X}"
        assert hidden == (unseen(character) is not None and character not in "\t\n")
