import numpy as np
import pytest
import torch
from torch import Tensor

from trials.sparsity import masks
from trials.sparsity.criteria.lamp import lamp


def by_definition(weight: Tensor) -> np.ndarray:
    """w_u² / Σ w_v² over |w_v| >= |w_u|, weight by weight."""
    w = weight.double().numpy().ravel()
    scores = [u * u / sum(v * v for v in w if abs(v) >= abs(u)) if u else 0.0 for u in w]
    return np.array(scores).reshape(weight.shape)


@pytest.mark.parametrize("decimals", [1, 9], ids=["many ties", "no ties"])
@pytest.mark.parametrize("seed", [0, 1])
def test_lamp_is_its_definition(seed: int, decimals: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(7, 9, generator=draw).round(decimals=decimals)
    found = lamp({"w": weight}, {}, 0)["w"]
    np.testing.assert_allclose(found.numpy(), by_definition(weight), rtol=1e-6)


def test_inside_a_tensor_lamp_ranks_by_magnitude() -> None:
    weight = {"w": torch.randn(30, 40, generator=torch.Generator().manual_seed(0))}
    plain = masks.top_k({"w": weight["w"].abs()}, 400)
    assert torch.equal(masks.top_k(lamp(weight, {}, 0), 400)["w"], plain["w"])


def test_scaling_a_tensor_changes_no_lamp_score() -> None:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    scores = lamp({"a": weight, "b": 1024 * weight}, {}, 0)
    assert torch.equal(scores["a"], scores["b"])


def test_the_largest_weight_of_every_tensor_survives_longest() -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {
        name: scale * torch.randn(9, 9, generator=draw) for name, scale in [("a", 1), ("b", 1e-3)]
    }
    keep = masks.top_k(lamp(weights, {}, 0), 2)
    assert {name: int(kept.sum()) for name, kept in keep.items()} == {"a": 1, "b": 1}
