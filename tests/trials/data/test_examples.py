import numpy as np
import pytest

from trials.data.examples import example_rows


@pytest.mark.parametrize(
    ("labels", "most", "rows"),
    [
        ([2, 0, 0, 1, 2], 8, [1, 3, 0, 2, 4]),
        ([2, 0, 0, 1, 2], 2, [1, 3]),
        ([5, 5, 5], 2, [0, 1]),
        ([], 8, []),
    ],
)
def test_every_class_comes_once_before_any_comes_twice(
    labels: list[int], most: int, rows: list[int]
) -> None:
    found = example_rows(np.array(labels, np.int64), most)
    assert found.tolist() == rows
    assert found.dtype == np.int64
