"""Whether a cluster lets us in is asked once, and said in one sentence."""

import socket
from pathlib import Path

import pytest

from orchestrator.driver import joining
from orchestrator.driver.joining import ClusterError, check_joinable, refusal

AT = "10.0.0.1:6379"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_who_has_not_said_that_there_is_a_token_is_told_what_to_set() -> None:
    said = refusal(AT)
    assert f"the Ray cluster at {AT} wants a token: set RAY_AUTH_MODE=token here" in said
    assert "RAY_AUTH_TOKEN_PATH" in said


def test_a_missing_token_and_a_wrong_one_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert "no token is here" in refusal(AT)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    assert "no token is here" in refusal(AT)
    (tmp_path / "nothing").write_text("geheim99")
    assert f"does not accept the token in {tmp_path}/nothing" in refusal(AT)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("geheim99")
    assert f"does not accept the token in {tmp_path}/.ray/auth_token" in refusal(AT)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "geheim99")
    assert "does not accept the token in RAY_AUTH_TOKEN" in refusal(AT)
    assert "geheim99" not in refusal(AT)


def test_where_nobody_is_that_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ClusterError, match="nothing answers there"):
            check_joinable(address)


@pytest.mark.parametrize(("value", "looked"), [(None, True), ("", True), ("0", True), ("1", False)])
def test_encryption_that_is_empty_in_the_environment_is_off(
    value: str | None, looked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it on, the head is Ray's to ask."""
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    if value is not None:
        monkeypatch.setenv("RAY_USE_TLS", value)
    assert joining._head(AT) == (AT if looked else None)
