"""Systems side by side: tables of each family, of ISP at equal steps, and published claims."""

from dataclasses import dataclass
from typing import Any

from dashboards.contrasts import verdict_words
from dashboards.tables import Cell, Table, num, table
from dashboards.text import (
    DASH,
    amount,
    clean,
    interval,
    level,
    number,
    percent,
    plural,
    points,
    points_interval,
    ratio,
)
from dashboards.tried import short

Row = dict[str, Any]

NAMED = (
    "reduction.method", "reduction.metric", "reduction.merge", "reduction.fuse", "reduction.count",
    "reduction.train",
    "issp.preset",
)  # fmt: skip
"""Axes that the name of a system says."""

_UNITS = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))

_LOOK = {"reproduced": "live", "not reproduced": "bad"}


@dataclass(frozen=True, slots=True)
class Family:
    """One family on the page: its tables, and what is said of them."""

    name: str
    title: str
    note: str
    systems: Table
    controls: Table


@dataclass(frozen=True, slots=True)
class Claim:
    """A published claim on the page."""

    tested: bool
    source: str
    claim: str
    numbers: str
    ours: str
    verdict: str
    look: str
    why: str


def families(summary: Row) -> list[Family]:
    """The families of systems, in the summary's order; the dense model stands in each."""
    entries = _entry(summary).get("families") or []
    dense = [row for e in entries if not e.get("family") for row in e.get("rows") or []]
    return [
        Family(
            clean(e.get("family"), 40),
            clean(e.get("label"), 100),
            _note(e),
            _systems(dense[:1], e.get("rows") or []),
            _controls(e.get("rows") or []),
        )
        for e in entries
        if e.get("family")
    ]


def all_rows(summary: Row) -> list[tuple[str, Row]]:
    """Title of the family and row, of every system."""
    return [
        (clean(e.get("label"), 100), row)
        for e in _entry(summary).get("families") or []
        for row in e.get("rows") or []
    ]


def name(row: Row) -> str:
    """`ToMe (no training)`, `Control: Random tokens`."""
    text = clean(row.get("system"), 80)
    if row.get("control"):
        plain = text[1:].partition(" ")[0].islower()  # not a name such as ToMe
        text = f"Control: {text[:1].lower() if plain else text[:1]}{text[1:]}"
    return text if row.get("trained", True) else f"{text} (no training)"


def place(row: Row) -> str:
    """The settings that the name does not say: `d 25 %`, `keep 0.7`."""
    axes = {
        axis: value for axis, value in (row.get("point") or {}).items()
        if axis not in NAMED and value is not None
    }  # fmt: skip
    own = {axis: v for axis, v in axes.items() if "." not in axis}
    further = [
        f"{axis.rpartition('.')[2].replace('_', ' ')} {clean(value, 40)}"
        for axis, value in axes.items()
        if "." in axis
    ]
    return ", ".join([*([short(own)] if own else []), *further]) or DASH


def by_training(summary: Row) -> Table:
    """Every trained system, from the one that costs least in training."""
    found = [row for _, row in all_rows(summary) if number(row.get("macs_training")) is not None]
    rows = [
        (
            Cell(name(row), None, "arm"),
            Cell(place(row)),
            _training(row),
            num(ratio(row.get("training_ratio")), row.get("training_ratio")),
            _of_dense(row),
            num(percent(row.get("kept")), row.get("kept")),
            num(percent(row.get("test_accuracy")), row.get("test_accuracy")),
            num(interval(row.get("ci_low"), row.get("ci_high"))),
            Cell(_verdict(row.get("dense")), None, "arm"),
        )
        for row in sorted(found, key=lambda r: float(r["macs_training"]))
    ]
    heads = ("System", "Setting", "Training MACs", "To dense training", "MACs", "Weights kept")
    return table((*heads, "Test accuracy", "Interval", "Against dense"), rows)


def matched_table(summary: Row) -> Table:
    """Ways to prune at equal sparsity and as many steps."""
    rows = [
        (
            num(level(row.get("sparsity")), row.get("sparsity")),
            Cell(clean(row.get("system"), 80), None, "arm"),
            num(amount(row.get("n")), row.get("n")),
            num(percent(row.get("test_accuracy")), row.get("test_accuracy")),
            num(interval(row.get("ci_low"), row.get("ci_high"))),
            _training(row),
            Cell(clean(row.get("extra"), 100) or "nothing"),
        )
        for row in _entry(summary).get("matched") or []
    ]
    heads = ("Sparsity", "Pruned by", "Seeds", "Test accuracy", "Interval", "Training MACs")
    return table((*heads, "Beyond T steps"), rows)


def claims(summary: Row) -> list[Claim]:
    """The published claims with their verdicts, in the summary's order."""
    return [
        Claim(
            tested=bool(c.get("ours")),
            source=clean(c.get("source"), 100),
            claim=clean(c.get("claim"), 400),
            numbers=clean(c.get("numbers"), 400),
            ours=clean(c.get("ours"), 400),
            verdict=(verdict := clean(c.get("verdict"), 40) or "not measured"),
            look=_LOOK.get(verdict, ""),
            why=_sentence(clean(c.get("why"), 400)),
        )
        for c in _entry(summary).get("claims") or []
    ]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _entry(summary: Row) -> Row:
    return summary.get("systems") or {}


def _systems(dense: list[Row], rows: list[Row]) -> Table:
    cells = [_system(row) for row in [*dense, *rows]]
    heads = (
        "System", "Setting", "Seeds", "Val. accuracy", "Test accuracy", "Interval", "MACs",
        "Weights kept", "Training MACs", "To dense, points", "These models, all at once",
        "Other seeds, all at once", "Against dense",
    )  # fmt: skip
    return table(heads, cells)


def _system(row: Row) -> tuple[Cell, ...]:
    gap, val = row.get("dense") or {}, (row.get("validation") or {}).get("mean")
    return (
        Cell(name(row), None, "arm"),
        Cell(place(row)),
        num(amount(row.get("n")), row.get("n")),
        num(percent(val), val),
        num(percent(row.get("test_accuracy")), row.get("test_accuracy")),
        num(interval(row.get("ci_low"), row.get("ci_high"))),
        _of_dense(row),
        num(percent(row.get("kept")), row.get("kept")),
        _training(row),
        *_gap(gap),
        Cell(_verdict(row.get("dense")) if row.get("dense") is not None else DASH, None, "arm"),
    )


def _gap(gap: Row) -> tuple[Cell, ...]:
    both = [(gap.get(f"{k}_corrected_low"), gap.get(f"{k}_corrected_high"))
            for k in ("models", "seeds")]  # fmt: skip
    return (
        num(points(gap.get("mean")), gap.get("mean")),
        *(num(points_interval(*limits)) for limits in both),
    )


def _controls(rows: list[Row]) -> Table:
    cells = []
    for row in rows:
        start = (Cell(name(row), None, "arm"), Cell(place(row)))
        for c in row.get("controls") or []:
            control = f"{clean(c.get('control'), 80)}, {place(c)}"
            cells.append((
                *start, Cell(control), num(amount(c.get("n")), c.get("n")), *_gap(c),
                Cell(_verdict(c), None, "arm"),
            ))  # fmt: skip
        if missing := clean(row.get("no_control"), 300).replace("`", ""):
            nothing = (Cell(DASH), num(DASH), *_gap({}))
            cells.append((*start, *nothing, Cell(f"not measured: {missing}", None, "arm")))
    heads = ("System", "Setting", "Its control", "Seeds", "Difference, points")
    limits = ("These models, all at once", "Other seeds, all at once")
    return table((*heads, *limits, "The system is"), cells)


def _verdict(entry: Row | None) -> str:
    return "not measured" if entry is None else verdict_words(entry)


def _training(row: Row) -> Cell:
    macs = number(row.get("macs_training"))
    if macs is None:
        return num(DASH)
    unit, size = next((u for u in _UNITS if macs >= u[1]), _UNITS[-1])
    return num(f"{macs / size:,.3g}\u00a0{unit}", macs)


def _of_dense(row: Row) -> Cell:
    return num(ratio(row.get("macs_ratio")), row.get("macs_ratio"))


def _note(entry: Row) -> str:
    """How many comparisons hold together, and which settings are left out."""
    count = int(number(entry.get("comparisons")) or 0)
    left = int(number(entry.get("left_out")) or 0)
    text = f"{plural(count, 'comparison')} of this family, corrected together."
    if left:
        verb = "is" if left == 1 else "are"
        text += (
            f" {plural(left, 'further setting')} {verb} not shown, which validation ranks lower."
        )
    early = sum(
        bool(row.get("dense")) and row.get("reference") == "before_fine_tuning"
        for row in entry.get("rows") or []
    )
    if early:
        text += (
            f" {plural(early, 'difference')} to the dense model before fine-tuning: the dense arm "
            "was not run with the same training."
        )
    return text
