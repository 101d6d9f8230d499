import numpy as np
import torch

from trials.sparsity.criteria.wanda import wanda


def test_wanda_is_the_weight_times_the_norm_of_its_input() -> None:
    draw = np.random.default_rng(0)
    x, w = draw.normal(size=(50, 6)), draw.normal(size=(4, 6))
    expected = [
        [abs(w[i, j]) * sum(value**2 for value in x[:, j]) ** 0.5 for j in range(6)]
        for i in range(4)
    ]
    norms = torch.from_numpy(np.linalg.norm(x, axis=0))
    found = wanda({"w": torch.from_numpy(w)}, {"w": norms}, 0)["w"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_with_equal_inputs_wanda_ranks_by_magnitude() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    found = wanda({"w": weight}, {"w": torch.full((7,), 2.0)}, 0)["w"]
    assert torch.equal(found, 2 * weight.abs())
