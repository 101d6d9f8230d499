"""The digits, with and without scikit-learn in its usual place."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trials.data.config import DataConfig
from trials.data.readers import digits


def test_the_images_are_those_of_scikit_learn() -> None:
    bunch = load_digits()
    table = digits._table()
    assert np.array_equal(table[:, :64].reshape(-1, 8, 8), bunch.images)
    assert np.array_equal(table[:, 64], bunch.target)


def test_where_the_file_lies_elsewhere_scikit_learn_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = digits.read(DataConfig(name="digits"))
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    asked = digits.read(DataConfig(name="digits"))
    assert asked.classes == usual.classes
    assert usual.test is not None
    assert asked.test is not None
    for one, other in ((usual.train, asked.train), (usual.test, asked.test)):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)
