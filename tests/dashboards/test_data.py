import json
from datetime import datetime
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest

from dashboards.data import hide_password, plain


def test_plain_turns_numpy_and_nan_into_strict_json() -> None:
    value = {
        1: (np.float32(0.5), np.int64(3), np.bool_(True), float("nan"), np.float64("inf")),
        "array": np.array([[1.0, np.nan]]),
        "none": [None, pd.NA, pd.NaT],
        "path": PurePosixPath("a/b"),
        "time": datetime(2026, 1, 2),
    }
    expected = {
        "1": [0.5, 3, True, None, None],
        "array": [[1.0, None]],
        "none": [None, None, None],
        "path": "a/b",
        "time": "2026-01-02 00:00:00",
    }
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_plain_says_where_it_met_what_json_cannot_hold() -> None:
    with pytest.raises(TypeError, match=r"summary\.arms\.1\.f: object"):
        plain({"arms": [{}, {"f": object()}]})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p4ss@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("uri: http://:tok@h and s3://a:b@c", "uri: http://:***@h and s3://a:***@c"),
        ("sqlite:///lotus/mlflow.db", "sqlite:///lotus/mlflow.db"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
    ],
)
def test_only_passwords_are_hidden(text: str, shown: str) -> None:
    assert hide_password(text) == shown
