from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.tokens import tickets
from trials.tokens.kept import Kept, KeptTable, Removal

EVEN, UNEVEN = torch.tensor([4, 4, 4, 4, 4]), torch.tensor([4, 4, 4, 16, 1])


def keep(counts: Tensor) -> Tensor:
    return tickets.random_patches(5, 16, counts, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("counts", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_tickets_become_indices_that_know_of_their_padding(counts: Tensor) -> None:
    kept = Kept.of_tickets(keep(counts), "mean")
    assert torch.equal(kept.indices, tickets.indices(keep(counts)))
    assert kept.padded == (counts is UNEVEN)
    assert kept.removal == "mean"
    moved = kept.to(torch.device("meta"))
    assert moved.indices.is_meta
    assert (moved.padded, moved.removal) == (kept.padded, "mean")


def test_a_part_is_padded_as_the_whole_batch_is() -> None:
    """Even one image that fills its row: whoever cuts a batch looks at no tensor."""
    kept = Kept.of_tickets(keep(UNEVEN))
    part = kept[slice(3, 4)]
    assert torch.equal(part.indices, torch.arange(16).view(1, 16))
    assert part.padded


@pytest.mark.parametrize("counts", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_a_batch_of_a_table_is_that_of_its_own_tickets(counts: Tensor) -> None:
    """As wide as its own longest row, whatever the others of the table keep."""
    given = keep(counts)
    table = KeptTable.of_tickets(given, "zero").placed(lambda tensor: tensor.clone())
    for part in (slice(0, 2), slice(2, 5), slice(4, 9), slice(0, 5)):
        found, own = table.batch(part), Kept.of_tickets(given[part], "zero")
        assert torch.equal(found.indices, own.indices)
        assert (found.padded, found.removal) == (own.padded, "zero")


@torch.no_grad()
@pytest.mark.parametrize("removal", ["gather", "attention_mask", "zero", "mean"])
def test_a_model_sees_in_a_part_what_it_sees_in_the_whole_batch(
    make_checkpoint: Callable[..., Checkpoint], x: Tensor, cpu: torch.device, removal: Removal
) -> None:
    model, kept = Model.of(make_checkpoint(), cpu), Kept.of_tickets(keep(UNEVEN), removal)
    parts = [model(x[part], kept[part]) for part in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(torch.cat(parts), model(x, kept))
    assert not torch.equal(model(x, kept), model(x))
