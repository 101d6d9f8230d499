"""The diagnosis as figures and tables show it: its anchors, and what was changed around each."""

from typing import Any

from dashboards.text import clean

_NAME = 34


def change(row: dict[str, Any], limit: int = _NAME) -> str:
    """`look-ahead steps: 10`, cut where it is long."""
    value = row.get("value")
    return clean(f"{row.get('label')}: {'–' if value is None else value}", limit)


def told_apart(row: dict[str, Any]) -> bool:
    """Whether the row's effect can be told from zero."""
    return row.get("verdict") in ("better", "worse")


def by_anchor(found: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every anchor that has changes to show, with them, in the diagnosis' order."""
    rows = found.get("suspects") or []
    pairs = [
        (anchor, [r for r in rows if r.get("anchor") == i])
        for i, anchor in enumerate(found.get("anchors") or [])
    ]
    return [(anchor, own) for anchor, own in pairs if own]
