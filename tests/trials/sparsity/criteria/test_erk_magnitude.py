import torch

from trials.sparsity.allocation import keep_mask
from trials.sparsity.criteria.erk_magnitude import CRITERION


def test_erk_keeps_the_largest_weights_of_densities_that_shapes_give() -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {
        "wide": torch.randn(30, 90, generator=draw),
        "small": torch.randn(10, 10, generator=draw),
    }
    assert CRITERION.allocation == "erk"
    keep = keep_mask(CRITERION.score(weights, {}, 0), 280, "erk")
    # In proportion to in + out: 120 and 20 of 140, twice.
    for name, count in (("wide", 240), ("small", 40)):
        size = weights[name].abs()
        assert int(keep[name].sum()) == count
        assert size[keep[name]].min() > size[~keep[name]].max()
