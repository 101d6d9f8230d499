"""How far each candidate of a halving came."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards import parts, style
from dashboards.arms import Arms
from dashboards.figure import DataTable, Figure, Plot
from dashboards.text import amount, clean, level, percent, plural

HEADS = {
    "candidate": "Candidate",
    "name": "Arm",
    "place": "Setting",
    "epochs": "Epochs at the stop",
    "accuracy": "Val. accuracy (%)",
    "fate": "Fate",
}
_FATES = ("Run in full", "Stopped")


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of the summary's halving, the furthest first."""

    rows: list[dict[str, Any]]
    arms: Arms


def data(summary: dict[str, Any]) -> Candidates | None:
    """The candidates that were stopped at least once, if any."""
    candidates = (summary.get("halving") or {}).get("candidates") or []
    rows = [candidate for candidate in candidates if candidate.get("curve")]
    return Candidates(rows, Arms.of(summary)) if rows else None


def draw(shown: Candidates) -> Plot:
    """Validation accuracy of every candidate at the rungs it reached; winners are highlighted."""
    rows = [row for i, c in enumerate(shown.rows) for row in _rows(i, c, shown.arms)]
    winners = [c for c in shown.rows if c.get("won")]
    said = "; ".join(
        f"{shown.arms.label(w['arm'])} at {level((w.get('setting') or {}).get('sparsity'))} "
        "sparsity"
        for w in winners
    )
    count = plural(len(shown.rows), "candidate")
    return Plot(
        chart=_chart(rows).properties(width=style.WIDTH, height=280),
        title=f"{len(winners)} of {count} {'was' if len(winners) == 1 else 'were'} run in full",
        alt=f"{count} of a halving; run in full: {said or 'none yet'}.",
        table=DataTable.of(HEADS, rows),
    )


def _rows(i: int, candidate: dict[str, Any], arms: Arms) -> list[dict[str, Any]]:
    setting = candidate.get("setting") or {}
    name = arms.short(candidate["arm"])
    place = clean(", ".join(f"{k} {v}" for k, v in setting.items() if v is not None), 160)
    fate = _FATES[0] if candidate.get("won") else _FATES[1]
    return [
        {"candidate": i + 1, "name": name, "place": place, "fate": fate, "epochs": epochs,
         "accuracy": parts.in_percent(accuracy),
         "tip": parts.lines(name, place, f"{amount(epochs)} epochs: {percent(accuracy)}", fate)}
        for epochs, accuracy in candidate["curve"]
    ]  # fmt: skip


def _chart(rows: list[dict[str, Any]]) -> alt.LayerChart:
    stops = sorted({row["epochs"] for row in rows})
    x = parts.x_axis("epochs", "Fine-tuning epochs at the stop", parts.span(stops, pad=0.04),
                     values=stops, format="d", grid=False)  # fmt: skip
    y = parts.y_axis("accuracy", "Val. accuracy (%)", parts.span(r["accuracy"] for r in rows))
    colour = parts.coloured(_FATES, (style.BAND, style.MUTED), "fate")
    layers: list[Any] = []
    for fate, width, opacity in ((_FATES[1], 1.0, 0.55), (_FATES[0], 2.4, 1.0)):
        base = parts.chart([row for row in rows if row["fate"] == fate])
        line = base.mark_line(strokeWidth=width, opacity=opacity)
        layers.append(line.encode(x=x, y=y, color=colour, detail="candidate:N"))
        layers.append(base.mark_point(size=45, opacity=opacity).encode(x=x, y=y, color=colour))
    layers.append(parts.hover(parts.chart(rows).encode(x=x, y=y)))
    return parts.layered(*layers)


FIGURE = Figure(
    name="halving",
    place="halving",
    caption="Validation accuracy of the candidates at the stops that they reached.",
    data=data,
    draw=draw,
)
