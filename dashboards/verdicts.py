"""The tables of the paper's claims and of the diagnosis."""

from dataclasses import dataclass
from typing import Any

from dashboards.diagnosis import change
from dashboards.tables import Cell, Table, num, table
from dashboards.text import (
    DASH,
    amount,
    clean,
    number,
    percent,
    points,
    points_interval,
)

# The paper's figures -> sections of the page.
PLACES = {2: "essential", 3: "tickets", 4: "finetune", 5: "issp"}
_LOOK = {"reproduced": "live", "not reproduced": "bad"}


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim on the page; `place` is the section with the paper's figure."""

    claim: str
    paper: str
    figure: str
    place: str
    ours: str
    verdict: str
    look: str
    why: str


def claim_rows(summary: dict[str, Any]) -> list[ClaimRow]:
    """The claims of the paper, and Data-LTH's, with their verdicts, in the summary's order."""
    rows = []
    for entry in [*(summary.get("claims") or []), *(summary.get("data_lth") or [])]:
        figure = number(entry.get("figure"))
        place = PLACES.get(int(figure), "") if figure is not None else ""
        verdict = clean(entry.get("verdict"), 40) or "not measured"
        rows.append(
            ClaimRow(
                claim=clean(entry.get("claim"), 400),
                paper=clean(entry.get("paper"), 200),
                figure=f"Figure {figure:g}" if place else "",
                place=place,
                ours=clean(entry.get("ours"), 400).removeprefix(DASH),
                verdict=verdict,
                look=_LOOK.get(verdict, ""),
                why=clean(entry.get("why"), 400),
            )
        )
    return rows


def diagnosis_table(diagnosis: dict[str, Any]) -> Table:
    """Every anchor followed by its changes, ranked as in the summary."""
    rows: list[tuple[Cell, ...]] = []
    for i, anchor in enumerate(diagnosis.get("anchors") or []):
        changes = [r for r in diagnosis.get("suspects") or [] if r.get("anchor") == i]
        start = Cell(clean(anchor.get("name"), 120), None, "name")
        rows.append((start, *_effect_cells({}), *_loss_cells(anchor), Cell("anchor")))
        for row in changes:
            change_cell = Cell(change(row, 120), None, "name")
            verdict_cell = Cell(clean(row.get("verdict"), 40))
            rows.append((change_cell, *_effect_cells(row), *_loss_cells(row), verdict_cell))
    heads = (
        "Change", "Effect, just pruned", "Its interval", "Effect, fine-tuned", "Its interval ",
        "n", "Sparsity", "Loss, just pruned", "of which one-shot", "of which mask",
        "Beyond random", "Loss, fine-tuned", "Just pruned vs anchor",
    )  # fmt: skip
    return table(heads, rows)


def _effect_cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        _points(row.get("effect_pruned")),
        num(points_interval(row.get("low"), row.get("high"))),
        _points(row.get("effect_final")),
        num(points_interval(row.get("final_low"), row.get("final_high"))),
    )


def _loss_cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        num(amount(row.get("n")), row.get("n")),
        num(percent(row.get("sparsity")), row.get("sparsity")),
        _points(row.get("drop")),
        _points(row.get("control_drop")),
        _points(row.get("excess")),
        _points(row.get("random_excess")),
        _points(row.get("final_drop")),
    )


def _points(value: Any) -> Cell:
    return num(points(value), value)
