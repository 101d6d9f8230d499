"""Passwords never leave the sweep file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.secrets import without_password


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:pw@host:5432/db?x=1", "postgresql://me:***@host:5432/db?x=1"),
        ("https://me:p%40w@host/path", "https://me:***@host/path"),
        ("https://me:p@w@host", "https://me:***@host"),
        ("http://me@host:5000", "http://me@host:5000"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////tmp/lotus/mlflow.db", "sqlite:////tmp/lotus/mlflow.db"),
        ("sqlite:///lotus/mlflow.db", "sqlite:///lotus/mlflow.db"),
    ],
)
def test_only_the_password_is_replaced(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6))
def test_no_password_is_shown(password: str) -> None:
    assert f":{password}@" not in without_password(f"mysql+driver://user:{password}@host/db")
