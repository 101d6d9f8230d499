"""Passwords never leave the sweep file."""

import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.data import hide_password
from orchestrator.secrets import redacted, without_password


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
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?user=me&password=***"),
        ("http://[bad:pw@host", "http://[bad:***@host"),
    ],
)
def test_only_the_password_is_replaced(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6))
def test_no_password_is_shown(password: str) -> None:
    assert f":{password}@" not in without_password(f"mysql+driver://user:{password}@host/db")


SECRET = "wJalr/XUtn+FEMI"


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "OUR_SECRET_VALUE",
        "wandb_api_key",
    ],
)
@pytest.mark.parametrize(
    "written", [SECRET, "wJalr%2FXUtn%2BFEMI", "wJalr/XUtn%2BFEMI"], ids=["plain", "quoted", "path"]
)
def test_the_values_of_secret_variables_are_hidden_in_any_text(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    assert redacted(f"refused: {written!r}, x{written}y") == "refused: '***', x***y"


def test_one_secret_within_another_leaves_nothing_of_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_PASSWORD", "abcdefgh")
    monkeypatch.setenv("B_PASSWORD", "abcdefghijkl")
    assert redacted("abcdefghijkl abcdefgh") == "*** ***"


def test_a_short_secret_is_hidden_only_as_a_word_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "lotus")
    assert redacted("login lotus to lotus_digits") == "login *** to lotus_digits"


@pytest.mark.parametrize("value", ["", "1", "on", "true", "False"])
def test_what_is_no_secret_makes_no_holes(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", value)
    text = "a true story, 1 on False"
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to postgresql+x://me:p@w:1@host/db failed", "to postgresql+x://me:***@host/db failed"),
        ("(http://:pw@h), (https://u:pw@h)", "(http://:***@h), (https://u:***@h)"),
        ("host=h user=u password=pw dbname=d", "host=h user=u password=*** dbname=d"),
        ("PGPASSWORD=pw lotus run", "PGPASSWORD=*** lotus run"),
        ("?access_token=ab.c-d&x=1", "?access_token=***&x=1"),
        ("aws_secret_access_key='x y'", "aws_secret_access_key='x y'"),  # hidden by its value
        ("cls_token=3, n_tokens=4", "cls_token=3, n_tokens=4"),
        ("http://host:5000/a@b mail me@host", "http://host:5000/a@b mail me@host"),
        ("sqlite:////tmp/lotus/mlflow.db", "sqlite:////tmp/lotus/mlflow.db"),
    ],
)
def test_passwords_in_addresses_and_arguments_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@given(st.text())
def test_hiding_twice_hides_no_more(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


PIECES = (
    "postgresql://", "https://", "s3://", "u", "me@corp", ":", "@", "/", "p@ss", "p/w", "host",
    ":5000", "?password=", "&token=", "x", " ", "'", '"', ";", ",", "***", "passwd = ", "pwd=",
    "secret_key=", "api_key=", "X-Amz-Signature=", "X-Amz-Credential=", "the tokens=", "\n", "#",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_page_hides_what_everything_else_hides(text: str) -> None:
    with pytest.MonkeyPatch.context() as here:
        for name in list(os.environ):
            here.delenv(name)
        assert hide_password(text) == redacted(text)


@pytest.mark.parametrize("hide", [redacted, hide_password, without_password])
@pytest.mark.parametrize(
    "text",
    [
        "https://host/x?password=hunter2",
        "https://host/x?a=b&token=hunter2&c=d",
        "https://host/x?X-Amz-Signature=hunter2&X-Amz-Credential=hunter2",
        "postgresql://u:p@hunter2@host/db",
        "postgresql://u@corp:hunter2@host/db",
        "postgresql://u:p/hunter2@host/db",
        "postgresql://u:hunter2@[::1]:5432/db",
    ],
)
def test_a_password_is_hidden_wherever_an_address_can_have_one(
    hide: Callable[[str], str], text: str
) -> None:
    assert "hunter2" not in hide(text)
    assert "host" in hide(text) or "::1" in hide(text)


@pytest.mark.parametrize("text", ["http://host:5000/a@b", "http://host:5000?x=a@b", "s3://b/a@b:c"])
def test_what_is_no_password_stays(text: str) -> None:
    assert redacted(text) == hide_password(text) == without_password(text) == text
