import numpy as np
import pytest
import torch

from trials.sparsity.criteria.sparsegpt import sparsegpt


def inputs(seed: int, tokens: int = 200) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(tokens, 6)) @ draw.normal(size=(6, 6))


@pytest.mark.parametrize("tokens", [3, 200], ids=["fewer tokens than inputs", "many tokens"])
def test_sparsegpt_divides_by_the_cholesky_factor_of_the_inverse(tokens: int) -> None:
    x, w = inputs(0, tokens), np.random.default_rng(1).normal(size=(4, 6))
    gram = x.T @ x / tokens
    damped = gram + 0.01 * np.mean(np.diag(gram)) * np.eye(6)
    lower = np.linalg.cholesky(np.linalg.inv(damped))
    found = sparsegpt({"w": torch.from_numpy(w)}, {"w": torch.from_numpy(gram)}, 0)["w"]
    np.testing.assert_allclose(found.numpy(), w**2 / np.diag(lower) ** 2, rtol=1e-5)


def test_the_last_input_is_worth_the_loss_that_the_others_cannot_make_up_for() -> None:
    """u_jj² is what is left of input j after the inputs before it: a regression says the same."""
    x, tokens = inputs(2), 200
    gram = x.T @ x / tokens
    damped = gram + 0.01 * np.mean(np.diag(gram)) * np.eye(6)
    # Schur complement of the first input in the whole: the OBS loss of a weight of input 0.
    expected = damped[0, 0] - damped[0, 1:] @ np.linalg.solve(damped[1:, 1:], damped[1:, 0])
    found = sparsegpt({"w": torch.ones(1, 6)}, {"w": torch.from_numpy(gram)}, 0)["w"]
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-5)


def test_with_uncorrelated_inputs_sparsegpt_is_wanda_squared() -> None:
    power = torch.tensor([1.0, 4.0, 9.0]).double()
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = sparsegpt({"w": weight}, {"w": power.diag()}, 0)["w"]
    expected = weight**2 * (power + 0.01 * power.mean())
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-5)


def test_a_dead_input_is_worth_nothing_and_leaves_the_others_as_they_are() -> None:
    x = inputs(3)
    gram = torch.from_numpy(x.T @ x / len(x))
    wider = torch.zeros(7, 7).double()
    wider[1:, 1:] = gram
    alone = sparsegpt({"w": torch.ones(2, 6)}, {"w": gram}, 0)["w"]
    found = sparsegpt({"w": torch.ones(2, 7)}, {"w": wider}, 0)["w"]
    assert not found[:, 0].any()
    assert found[:, 1:].numpy() == pytest.approx(alone.numpy(), rel=1e-6)
    nothing = sparsegpt({"w": torch.ones(2, 7)}, {"w": torch.zeros(7, 7)}, 0)["w"]
    assert not nothing.any()
