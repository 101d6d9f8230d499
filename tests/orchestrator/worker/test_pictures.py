"""Pictures of tickets."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.worker.pictures import (
    EXAMPLES,
    GAP_PX,
    SIDE_PX,
    ticket_examples,
    ticket_examples_png,
)

STEP = SIDE_PX + GAP_PX


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_sheet_has_two_rows_of_at_most_eight(channels: int, side: int, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (count, channels, side, side), np.uint8)
    sheet = ticket_examples(images, torch.ones(count, 16, dtype=torch.bool))
    shown = min(EXAMPLES, count)
    assert sheet.size == (shown * STEP - GAP_PX, 2 * STEP - GAP_PX)
    assert sheet.mode == "RGB"


def test_kept_patches_are_unchanged_and_dropped_ones_are_greyed() -> None:
    images = np.full((1, 1, 8, 8), 255, np.uint8)
    keep = torch.zeros(1, 16, dtype=torch.bool)
    keep[0, [0, 5, 15]] = True  # row-major on a 4 x 4 grid
    sheet = np.asarray(ticket_examples(images, keep))
    lower = sheet[STEP:]
    cell = SIDE_PX // 4
    for patch in range(16):
        row, column = divmod(patch, 4)
        middle = lower[row * cell + cell // 2, column * cell + cell // 2]
        assert (middle == 255).all() == (patch in (0, 5, 15))
    assert (sheet[:SIDE_PX] == 255).all()


def test_all_kept_shows_the_same_picture_twice() -> None:
    images = np.random.default_rng(1).integers(0, 255, (2, 3, 32, 32), np.uint8)
    sheet = np.asarray(ticket_examples(images, torch.ones(2, 64, dtype=torch.bool)))
    assert (sheet[:SIDE_PX] == sheet[STEP:]).all()


def test_the_file_of_equal_tickets_is_drawn_once_and_is_the_same_picture() -> None:
    images = np.random.default_rng(2).integers(0, 255, (20, 3, 32, 32), np.uint8)
    keep = torch.rand(20, 64, generator=torch.Generator().manual_seed(0)) < 0.5
    file = ticket_examples_png(images, keep)
    assert (np.asarray(Image.open(io.BytesIO(file))) == ticket_examples(images, keep)).all()
    assert ticket_examples_png(images, keep) is file
    keep[EXAMPLES - 1] = ~keep[EXAMPLES - 1]
    assert ticket_examples_png(images, keep) != file
    images[0] = 0
    assert ticket_examples_png(images, keep) != ticket_examples_png(images + 1, keep)
