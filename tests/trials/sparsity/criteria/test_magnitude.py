import torch

from trials.sparsity.criteria.magnitude import magnitude


def test_magnitude_does_not_see_the_sign() -> None:
    assert magnitude({"w": torch.tensor([-2.0, 1.0])}, {}, 0)["w"].tolist() == [2.0, 1.0]
