from collections.abc import Callable

import pytest

from tests.trials.models import MODELS, Make
from trials.model.shape import differential_modules, input_size


def test_the_size_of_an_image_is_its_height_and_its_width(model: Callable[..., object]) -> None:
    assert input_size(model(img_size=[12, 16])) == (12, 16)


@pytest.mark.parametrize("name", MODELS)
def test_differential_attention_is_found_in_the_blocks_that_have_it(name: str, made: Make) -> None:
    found = [differential_modules(block) for block in made(name).module.blocks]
    each = 2 if name == "differential-parallel-things" else 1
    assert [len(one) for one in found] == [each * name.startswith("differential")] * 2
