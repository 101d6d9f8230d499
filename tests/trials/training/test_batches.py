"""The batches of an epoch: the same draws whether they are sent at once or in parts."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trials.context import Context
from trials.tokens import tickets
from trials.tokens.kept import Kept
from trials.tokens.patches import Moves, Patches
from trials.training import batches
from trials.training.batches import Batch, Batches
from trials.training.recipe import TrainConfig

CFG = TrainConfig(batch_size=8, flip=True, crop=1)


def uneven() -> Tensor:
    counts = torch.arange(50) % 16 + 1
    return tickets.random_patches(50, 16, counts, torch.Generator().manual_seed(0))


def made(patches: Patches | None, cfg: TrainConfig = CFG) -> list[Batch]:
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(2)
    return list(Batches(cfg, Context(), patches, 4).of(order, draw))


def test_a_batch_has_its_rows_and_the_draws_that_it_would_have_made_itself() -> None:
    patches, draw = Patches(uneven(), random=True), torch.Generator().manual_seed(2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    found = made(patches)
    assert [len(batch) for batch in found] == [8, 8, 8, 8, 8, 8, 2]
    for batch, rows in zip(found, order.split(8), strict=True):
        assert torch.equal(batch.rows, rows)
        own = Moves.draw(len(rows), True, 1, draw)
        assert own.mirrored is not None
        assert own.offsets is not None
        assert batch.moves.mirrored is not None
        assert batch.moves.offsets is not None
        assert torch.equal(batch.moves.mirrored, own.mirrored)
        assert torch.equal(batch.moves.offsets, own.offsets)
        keep = uneven()[rows]
        keep = tickets.select_patches(torch.rand(len(rows), 16, generator=draw), keep.sum(1))
        expected = Kept.of_tickets(keep)
        turned = torch.where(
            own.mirrored[:, None], tickets.flip(expected.indices, 4), expected.indices
        )
        assert batch.kept is not None
        assert torch.equal(batch.kept.indices, turned)
        assert batch.kept.padded == expected.padded


@pytest.mark.parametrize("random", [False, True])
def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch, random: bool) -> None:
    patches = Patches(uneven(), random=random)
    whole = made(patches)
    monkeypatch.setattr(batches, "AT_ONCE_BYTES", 2 * 8 * 16 * batches.BYTES_OF_A_PATCH)
    for one, other in zip(made(patches), whole, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert one.kept is not None
        assert other.kept is not None
        assert torch.equal(one.kept.indices, other.kept.indices)


def test_a_part_is_never_less_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AT_ONCE_BYTES", 1)
    assert [len(batch) for batch in made(Patches(uneven()))] == [8, 8, 8, 8, 8, 8, 2]


@pytest.mark.parametrize(
    ("patches", "kept", "counts"),
    [
        (lambda: None, False, False),
        (lambda: Patches(uneven()), True, False),
        (lambda: Patches(uneven(), scorer=lambda x: x), True, True),
    ],
    ids=["all", "static", "online"],
)
def test_only_what_a_step_reads_is_sent(
    patches: Callable[[], Patches | None], kept: bool, counts: bool
) -> None:
    for batch in made(patches(), TrainConfig(batch_size=8)):
        assert (batch.kept is not None, batch.counts is not None) == (kept, counts)
        assert batch.moves == Moves(None, None)
