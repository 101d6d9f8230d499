"""What is read from tables of the head node; where a table says nothing, nothing is known."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.ray_internals import memory, nodes


def heads_table(monkeypatch: pytest.MonkeyPatch, groups: int | None, report: bytes | None) -> None:
    """A head node with so many node groups (a newer autoscaler) and a report (an older one)."""
    config = None if groups is None else SimpleNamespace(node_group_configs=[object()] * groups)
    table = SimpleNamespace(get_cluster_config=lambda: config)
    monkeypatch.setattr(nodes.state, "state", table)
    monkeypatch.setattr(memory.internal_kv, "_internal_kv_get", lambda name: report)


def reported(*kinds: str) -> bytes:
    active = dict.fromkeys(kinds, 1)
    return json.dumps({"autoscaler_report": {"active_nodes": active}}).encode()


@pytest.mark.parametrize(
    ("groups", "report", "expected"),
    [
        (None, None, False),
        (0, None, False),
        (2, None, True),
        (None, reported("node_0af3"), False),
        (None, reported("node_0af3", "gpu-worker"), True),
        (None, b"no JSON", False),
        (None, b"{}", False),
    ],
)
def test_an_autoscaler_is_known_by_its_groups_or_by_its_report(
    groups: int | None, report: bytes | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads_table(monkeypatch, groups, report)
    assert nodes.autoscales() is expected


def broken(*asked: Any) -> Any:
    raise RuntimeError("another Ray")


def test_a_ray_that_answers_otherwise_is_one_of_which_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads_table(monkeypatch, None, None)
    monkeypatch.setattr(nodes.state.state, "get_cluster_config", broken)
    monkeypatch.setattr(memory.internal_kv, "_internal_kv_get", broken)
    assert not nodes.autoscales()
    monkeypatch.setattr(nodes.state, "actors", broken)
    assert nodes.node_of("ac70") is None


@pytest.mark.parametrize(
    ("actor", "table", "expected"),
    [
        (None, {}, None),
        ("ac70", {"Address": {"NodeID": "n1"}}, "n1"),
        ("ac70", {"Address": {"NodeID": ""}}, None),
        ("ac70", {}, None),
    ],
)
def test_where_a_process_ran_is_read_from_rays_table(
    actor: str | None, table: dict[str, Any], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes.state, "actors", lambda actor_id: table)
    assert nodes.node_of(actor) == expected
