import torch

from trials.sparsity.criteria.random import random

SHAPES = {"a": torch.zeros(40, 5), "b": torch.zeros(40, 5)}


def test_random_scores_follow_from_the_seed_alone() -> None:
    other = {name: torch.ones(40, 5) for name in SHAPES}
    assert torch.equal(random(SHAPES, {}, 3)["b"], random(other, {}, 3)["b"])
    assert not torch.equal(random(SHAPES, {}, 3)["b"], random(SHAPES, {}, 4)["b"])


def test_random_scores_differ_between_tensors() -> None:
    scores = random(SHAPES, {}, 0)
    assert not torch.equal(scores["a"], scores["b"])
