import pytest
import torch
from torch import Tensor

from trials.errors import StageInputError
from trials.tokens import tickets
from trials.tokens.patches import Patches, augment


@pytest.fixture
def images() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (60, 3, 6, 9), generator=draw, dtype=torch.uint8)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    assert not mirrored.any()
    assert torch.equal(state.get_state(), draw().get_state())


@pytest.mark.parametrize("crop", [1, 2, 5])
def test_a_crop_is_a_window_of_the_padded_image_of_the_old_size(images: Tensor, crop: int) -> None:
    found, mirrored = augment(images, False, crop, draw())
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    assert not mirrored.any()
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
    assert torch.equal(augment(images, True, 2, draw())[1], augment(images, True, 0, draw())[1])


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
    kept = Patches(uneven).kept(rows, torch.empty(0), mirrored, 4, draw())
    for row, place, turned in zip(kept.indices, rows, mirrored, strict=True):
        grid = uneven[place].view(4, 4)
        expected = (grid.flip(-1) if turned else grid).flatten().nonzero()[:, 0]
        assert row[row != tickets.PAD].tolist() == expected.tolist()


def test_random_patches_are_as_many_as_each_image_keeps(uneven: Tensor) -> None:
    rows, mirrored = torch.arange(40), torch.arange(40) % 2 == 0
    kept = Patches(uneven, random=True).kept(rows, torch.empty(0), mirrored, 4, draw())
    assert torch.equal((kept.indices != tickets.PAD).sum(1), uneven.sum(1))


@pytest.mark.parametrize("lowest", [False, True])
def test_a_scorer_keeps_the_best_patches_of_what_it_sees_unmirrored(lowest: bool) -> None:
    keep = tickets.random_patches(6, 16, 5, draw())
    scores = torch.rand(6, 16, generator=draw(1))
    patches = Patches(keep, scorer=lambda x: x, lowest=lowest)
    kept = patches.kept(torch.arange(6), scores, torch.ones(6, dtype=torch.bool), 4, draw())
    expected = tickets.indices(tickets.select_patches(scores, 5, lowest=lowest))
    assert torch.equal(kept.indices, expected)
