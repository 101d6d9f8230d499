import pytest
import torch
from torch import Tensor

from trials.errors import StageInputError
from trials.tokens import tickets
from trials.tokens.kept import Kept
from trials.tokens.patches import Moves, Patches


@pytest.fixture
def images() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (60, 3, 6, 9), generator=draw, dtype=torch.uint8)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augment(
    images: Tensor, flip: bool, crop: int, state: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    moves = Moves.draw(len(images), flip, crop, state)
    return moves.move(images, crop), moves.mirrored


def windows(image: Tensor, crop: int) -> set[tuple[int, ...]]:
    """Every window of the zero-padded image, by hand."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * crop, width + 2 * crop, dtype=image.dtype)
    padded[:, crop : crop + height, crop : crop + width] = image
    places = [(top, left) for top in range(2 * crop + 1) for left in range(2 * crop + 1)]
    cut = [padded[:, top : top + height, left : left + width] for top, left in places]
    return {tuple(one.flatten().tolist()) for one in cut}


def test_augmentation_that_is_off_changes_nothing_and_draws_nothing(images: Tensor) -> None:
    state = draw()
    found, mirrored = augment(images, False, 0, state)
    assert torch.equal(found, images)
    assert mirrored is None
    assert torch.equal(state.get_state(), draw().get_state())


@pytest.mark.parametrize("crop", [1, 2, 5])
def test_a_crop_is_a_window_of_the_padded_image_of_the_old_size(images: Tensor, crop: int) -> None:
    found, mirrored = augment(images, False, crop, draw())
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    assert mirrored is None
    for image, cropped in zip(images, found, strict=True):
        assert tuple(cropped.flatten().tolist()) in windows(image, crop)


def test_every_window_is_drawn_and_each_image_draws_its_own(images: Tensor) -> None:
    same = images[:1].expand(400, -1, -1, -1)
    found, _ = augment(same, False, 1, draw())
    assert {tuple(one.flatten().tolist()) for one in found} == windows(images[0], 1)


def test_a_crop_follows_from_the_generator(images: Tensor) -> None:
    first, again, other = (augment(images, True, 2, draw(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_crop_leaves_the_flips_as_they_are_without_it(images: Tensor) -> None:
    cropped, whole = augment(images, True, 2, draw())[1], augment(images, True, 0, draw())[1]
    assert cropped is not None
    assert whole is not None
    assert torch.equal(cropped, whole)


def test_moves_of_batches_are_cut_out_of_those_of_all_of_them(images: Tensor) -> None:
    """Drawn batch by batch in one order, joined, sent, and cut again."""
    state, again = draw(), draw()
    parts = [Moves.draw(20, True, 2, state) for _ in range(3)]
    joined = Moves.joined(parts).placed(lambda tensor: tensor.clone())
    for start in (0, 20, 40):
        own, part = Moves.draw(20, True, 2, again), slice(start, start + 20)
        assert torch.equal(joined[part].move(images[part], 2), own.move(images[part], 2))
    assert torch.equal(state.get_state(), again.get_state())


def test_a_crop_that_could_hold_nothing_is_refused(images: Tensor) -> None:
    with pytest.raises(StageInputError, match="crop = 6, but the images have 6 x 9 pixels"):
        augment(images, False, 6, draw())


def test_a_crop_is_refused_with_the_tickets_of_whole_images_only() -> None:
    keep = torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(StageInputError, match=r"write `tickets\.selection: online`"):
        Patches(keep).refuse_broken_grid(1)
    Patches(keep).refuse_broken_grid(0)
    Patches(keep, random=True).refuse_broken_grid(1)
    Patches(keep, scorer=lambda x: x).refuse_broken_grid(1)


@pytest.fixture
def uneven() -> Tensor:
    counts = torch.arange(40) % 16 + 1
    return tickets.random_patches(40, 16, counts, draw(3))


def test_uneven_tickets_are_mirrored_with_their_images(uneven: Tensor) -> None:
    rows, mirrored = torch.tensor([7, 3, 30, 11]), torch.tensor([True, False, True, False])
    table = Patches(uneven).table(rows, None, mirrored, 4)
    for row, place, turned in zip(table.indices, rows, mirrored, strict=True):
        grid = uneven[place].view(4, 4)
        expected = (grid.flip(-1) if turned else grid).flatten().nonzero()[:, 0]
        assert row[row != tickets.PAD].tolist() == expected.tolist()


def test_random_patches_are_as_many_as_each_image_keeps(uneven: Tensor) -> None:
    rows, mirrored = torch.arange(40), torch.arange(40) % 2 == 0
    patches = Patches(uneven, random=True)
    table = patches.table(rows, patches.draw(40, draw()), mirrored, 4)
    assert torch.equal((table.indices != tickets.PAD).sum(1), uneven.sum(1))
    assert torch.equal(table.counts, uneven.sum(1))


def test_only_random_patches_draw(uneven: Tensor) -> None:
    state = draw()
    assert Patches(uneven).draw(5, state) is None
    assert torch.equal(state.get_state(), draw().get_state())


@pytest.mark.parametrize("lowest", [False, True])
def test_a_scorer_keeps_the_best_patches_of_what_it_sees_unmirrored(
    uneven: Tensor, lowest: bool
) -> None:
    even = tickets.random_patches(40, 16, 5, draw())
    scores = torch.rand(6, 16, generator=draw(1))
    for keep in (even, uneven):
        patches = Patches(keep, "mean", scorer=lambda x: x, lowest=lowest)
        rows = torch.tensor([9, 1, 3, 8, 30, 2])
        table = patches.table(rows, None, torch.ones(6, dtype=torch.bool), 4)
        kept, odd = patches.scored(scores, table.counts, table.batch(slice(0, 6)))
        chosen = tickets.select_patches(scores, keep[rows].sum(1), lowest=lowest)
        expected = Kept.of_tickets(chosen, "mean")
        assert torch.equal(kept.indices, expected.indices)
        assert (kept.padded, kept.removal) == (expected.padded, "mean")
        assert not odd


def test_a_score_that_is_nan_is_told_of() -> None:
    scores = torch.rand(3, 4, generator=draw())
    scores[1, 2] = torch.nan
    patches = Patches(torch.ones(3, 4, dtype=torch.bool), scorer=lambda x: x)
    table = patches.table(torch.arange(3), None, None, 2)
    assert patches.scored(scores, table.counts, table.batch(slice(0, 3)))[1]
