"""The page that shows two sweeps beside each other."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dashboards import files, headline, page
from dashboards.arms import Arms
from dashboards.contrasts import place_words, verdict_words
from dashboards.data import hidden, plain
from dashboards.tables import Cell, Table, num, table
from dashboards.text import DASH, amount, clean, percent, plural, points, points_interval


def write_beside(
    a: dict[str, Any],
    b: dict[str, Any],
    found: dict[str, Any],
    output: Path,
    labels: tuple[str, str] | None = None,
) -> Path:
    """Write beside.html and beside.json.

    Args:
        a, b: the summaries of the sweeps.
        found: what `orchestrator.selection.beside.beside` returns, and `problems` (sentences).
        output: a folder, created if missing.
        labels: what the two are called; None = as the sweeps.

    Returns:
        The path of the page.
    """
    a, b, found = (plain(hidden(part)) for part in (a, b, found))
    called = [clean(label, 300) for label in labels] if labels else names(a, b)
    shown = {
        "names": called,
        "answers": [headline.answer(s) for s in (a, b)],
        "unfinished": [headline.unfinished(s) for s in (a, b)],
        "numbers": numbers_table(a, b, called),
        "shared": shared_table(found, Arms.of(a)),
        "note": note(found),
        "problems": [clean(text) for text in found.get("problems") or []],
    }
    output = Path(output)
    text = json.dumps(found | {"a": a, "b": b}, indent=2, allow_nan=False) + "\n"
    files.write_whole(output / "beside.json", text.encode())
    path = output / "beside.html"
    html = page.filled("beside.html.j2", shown, page.style(shown), page.asset("report.js"))
    files.write_whole(path, html.encode("utf-8", "replace"))
    return path


def note(found: dict[str, Any]) -> str:
    """What was compared, and what was not."""
    shared = len(found.get("shared") or [])
    text = (
        f"{plural(shared, 'setting')} in both; {found.get('only_a') or 0} only in the first, "
        f"{found.get('only_b') or 0} only in the second."
    )
    if not found.get("same_images"):
        return (
            f"{text} It is not known that they were tested on the same images, as where their "
            "`data` sections differ: accuracies stand side by side, and no difference is given."
        )
    return (
        f"{text} Differences are the second minus the first on test, on the tokens that a model "
        f"uses, paired by seed and image; intervals hold for {plural(found['compared'], 'setting')}"
        " at once (Bonferroni)."
    )


def numbers_table(a: dict[str, Any], b: dict[str, Any], called: Sequence[str]) -> Table:
    """The key figures of both, side by side.

    Args:
        called: what the two are called.
    """
    mine, theirs = headline.cards(a), headline.cards(b)
    rows = [
        (Cell(x.label, None, "name"), Cell(x.value, None, "num"), Cell(y.value, None, "num"))
        for x, y in zip(mine, theirs, strict=True)
    ]
    return Table(("", *called), tuple(rows))


def names(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What the two are called; numbered where both have one name."""
    found = [clean(s.get("sweep"), 200) or "unnamed sweep" for s in (a, b)]
    return [f"{name} ({i})" for i, name in enumerate(found, 1)] if found[0] == found[1] else found


def shared_table(found: dict[str, Any], arms: Arms) -> Table:
    """A row for each setting that both have."""
    rows = []
    for row in found.get("shared") or []:
        words = "the same models" if row.get("same_models") else verdict_words(row)
        rows.append(
            (
                Cell(arms.short(row["arm"]), None, "arm"),
                Cell(place_words(row.get("setting") or {}, {})),
                num(amount(row.get("n")), row.get("n")),
                num(percent(row.get("test_accuracy_a")), row.get("test_accuracy_a")),
                num(percent(row.get("test_accuracy_b")), row.get("test_accuracy_b")),
                num(points(row.get("difference")), row.get("difference")),
                num(points_interval(row.get("models_low"), row.get("models_high"))),
                num(points_interval(row.get("seeds_low"), row.get("seeds_high"))),
                Cell(words if words != "" else DASH),
            )
        )
    heads = ("Arm", "At", "Seeds in both", "First", "Second", "Difference, points")
    return table((*heads, "These models", "Other seeds", "The second is"), rows)
