"""The diagnosis for figures and tables: its anchors, and the changes around each."""

from typing import Any

from dashboards.text import clean

_NAME = 34


def change(row: dict[str, Any], limit: int = _NAME) -> str:
    """`look-ahead steps: 10`, cut if it is too long."""
    value = row.get("value")
    return clean(f"{row.get('label')}: {'–' if value is None else value}", limit)


def told_apart(row: dict[str, Any]) -> bool:
    """Whether the row's effect can be told from zero."""
    return row.get("verdict") in ("better", "worse")


def by_anchor(diagnosis: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every anchor with its changes, in the order of the diagnosis; without any it is left out."""
    rows = diagnosis.get("suspects") or []
    pairs = [
        (anchor, [r for r in rows if r.get("anchor") == i])
        for i, anchor in enumerate(diagnosis.get("anchors") or [])
    ]
    return [(anchor, changes) for anchor, changes in pairs if changes]
