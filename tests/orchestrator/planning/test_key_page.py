"""The page that explains every key of the sweep file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.key_examples import EXAMPLES
from orchestrator.planning.key_page import TOP, Key, keys, page, sections

PAGE = Path(__file__).parents[3] / "docs/sweep-file-keys.md"

BASE = {
    "name": "base",
    "data": {"name": "cifar10", "root": "/data"},
    "model": {"name": "vit_small_patch16_224"},
}

WITH: dict[str, dict[str, Any]] = {
    "resources.accelerator_type": {"resources": {"gpu": 1}},
    "search.ranges": {"search": {"method": "random", "samples": 4}},
}
"""What some keys need beside them."""


def test_the_page_is_what_the_command_makes() -> None:
    written = PAGE.read_text("utf-8")
    assert written == page(), "make it again: lotus schema --markdown > docs/sweep-file-keys.md"


def test_every_section_of_the_sweep_file_is_a_section_of_the_page() -> None:
    named = [key.name for key in sections()[TOP][1]] + list(sections())[1:]
    assert set(named) == SweepConfig.model_fields.keys()


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.path)
def test_every_key_is_described_and_its_example_is_not_its_default(key: Key) -> None:
    assert len(key.about) > 3, f"{key.path} needs a description"
    assert key.example, f"{key.path} needs an example in orchestrator/planning/key_examples.py"
    assert key.example != key.default
    assert key.values


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.path)
def test_every_example_can_stand_in_a_sweep_file(key: Key) -> None:
    section, _, name = key.path.rpartition(".")
    raw: dict[str, Any] = BASE | WITH.get(key.path, {})
    value = yaml.safe_load(key.example)
    raw |= {section: raw.get(section, {}) | {name: value}} if section else {name: value}
    sweep = SweepConfig.model_validate(raw)
    assert section in {"", *SweepConfig.model_fields}
    assert sweep.name


def test_no_example_is_of_a_key_that_is_gone() -> None:
    assert EXAMPLES.keys() <= {key.path for key in keys()}
