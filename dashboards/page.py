"""The page of a report: what its template shows, as text, tables and images."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from typing import Any, get_args

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dashboards import (
    contents,
    contrasts,
    embedded,
    files,
    frames,
    gallery,
    headline,
    search,
    sections,
    systems,
    verdicts,
)
from dashboards.arms import Arms
from dashboards.data import Picture, ReportData
from dashboards.figure import Drawing, Place
from dashboards.figures.issp_by_fraction import shown_levels
from dashboards.figures.settings_lines import line_of_trial
from dashboards.tables import Table, values
from dashboards.text import clean, duration, level, number, percent, plural, sentence
from dashboards.vega import embed


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the page embeds it; width and height in CSS pixels."""

    src: str
    alt: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure on the page: its picture until the script has drawn it, and its values."""

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    table: Table


def render(
    summary: dict[str, Any],
    data: ReportData,
    drawings: list[Drawing],
    pictures: list[Picture],
    csv: bytes,
) -> str:
    """The page of a report.

    Args:
        summary: of the data, in JSON's types.
        csv: the content of trials.csv.
    """
    shown = _context(summary, data, drawings, pictures)
    shown |= contents.of(shown)
    shown |= {
        "csv": embedded.all_trials(csv, len(data.trials)),
        "specifications": embed.specifications(drawings),
    }
    script = asset("report.js")
    if drawings:
        script += f"\n{asset('linked.js')}\n{embed.script()}"
    return filled("report.html.j2", shown, f"{style(shown)}\n{embed.css()}", script)


def filled(template: str, shown: dict[str, Any], css: str, script: str) -> str:
    """A page from its template, with one style sheet and one script, which its policy allows.

    Args:
        shown: what the template shows, by name.
    """
    environment = Environment(
        loader=PackageLoader("dashboards", ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "coded": coded, "csv_link": embedded.csv_link, "text_link": embedded.text_link,
    }  # fmt: skip
    return environment.get_template(template).render(
        **shown, css=css, script=script, css_hash=_csp_hash(css), script_hash=_csp_hash(script)
    )


def _placed(drawings: list[Drawing]) -> dict[str, list[Shown]]:
    """The figures at every place of the page."""
    return {
        place: [
            Shown(d.name, d.title, d.caption, d.alt, d.svg, values(d.table.columns, d.table.rows))
            for d in drawings if d.place == place
        ]
        for place in get_args(Place)
    }  # fmt: skip


def _picture_image(picture: Picture) -> Image:
    dropped = level(picture.patch_drop)
    width, height = files.png_size(picture.png)
    return Image(
        src=embedded.link(picture.png, "image/png"),
        alt=f"Example images with {dropped} of their patches dropped",
        width=width,
        height=height,
        caption=f"{dropped} of the patches dropped. Trial {clean(picture.title, 300)}",
    )


def _fraction_note(table: pd.DataFrame, arms: Arms) -> str:
    """Which trials the section on mask data shows."""
    if table.empty:
        return ""
    drop = number(table["patch_drop"].iloc[0])
    patches = "all patches" if not drop else f"{level(drop)} of the patches dropped"
    arm = arms.label(table["arm"].iloc[0])
    text = (
        f"{arm}, {patches}; mean over seeds, bars from the lowest to the highest. With 3 seeds or "
        "more intervals are about other seeds, below about these models."
    )
    total, drawn = table["sparsity"].nunique(), len(shown_levels(table))
    return text if drawn == total else f"{text} The figure draws {drawn} of {total} sparsities."


def _tables(summary: dict[str, Any], trials: pd.DataFrame) -> dict[str, Any]:
    """All tables of the page."""
    seconds, rates = sections.cost_tables(frames.stages(summary), frames.rates(summary))
    return {
        "curve": sections.curve_table(summary),
        "detectors": sections.detector_table(summary),
        "finetune": sections.finetune_table(frames.finetuning(summary), summary),
        "fractions": sections.fraction_table(frames.by_fraction(summary)),
        "overlap": contrasts.overlap_table(summary),
        "one_shot": contrasts.one_shot_table(summary),
        "arms": sections.arms_table(summary),
        "comparisons": contrasts.comparisons_table(summary),
        "pareto": search.pareto_table(summary),
        "halving": search.halving_table(summary),
        "candidates": search.candidates_table(summary),
        "seconds": seconds,
        "rates": rates,
        "failed": sections.failed_table(trials),
        "trials": sections.trials_table(trials, line_of_trial(summary)),
    }


def _context(
    summary: dict[str, Any],
    data: ReportData,
    drawings: list[Drawing],
    pictures: list[Picture],
) -> dict[str, Any]:
    """Everything the template shows, as text, tables and images; the template computes nothing."""
    fractions = frames.by_fraction(summary)
    essential = summary.get("essential_sparsity") or {}
    return {
        "sweep": clean(summary.get("sweep"), 300) or "unnamed sweep",
        "answer": headline.answer(summary),
        "measured": headline.measured(summary.get("essential_sparsity")),
        "dense_note": headline.dense_note(summary),
        "cards": headline.cards(summary),
        "trust": headline.trust(summary),
        "unfinished": headline.unfinished(summary),
        "warnings": [sentence(w) for w in summary.get("warnings") or []],
        "not_measured": [clean(s) for s in summary.get("not_measured") or []],
        "figures": _placed(drawings),
        "pictures": [_picture_image(p) for p in pictures],
        "gallery": gallery.examples(data.gallery),
        "confidence": percent(summary.get("confidence", 0.95), 0),
        "detector": clean(essential.get("detector"), 100).replace("_", " "),
        "models": plural(_dense_models(summary), "dense model"),
        **_cost_words(summary.get("cost") or {}),
        **_tables(summary, data.trials),
        "fraction_note": _fraction_note(fractions, Arms.of(summary)),
        **_judged(summary),
        **_side_by_side(summary),
        "overlap_note": contrasts.overlap_note(summary),
        "comparisons_note": contrasts.comparisons_note(summary),
        "trial_count": len(data.trials),
        "facts": {clean(k, 100): clean(v) for k, v in (data.facts | _data_facts(summary)).items()},
        "live": data.live,
        "made_at": clean(data.facts.get("made at"), 60),
        "sweep_yaml": clean(data.sweep_yaml, 200_000),
        "regenerate": clean(data.command, 20_000),
    }


def _judged(summary: dict[str, Any]) -> dict[str, Any]:
    """The paper's claims, and the diagnosis."""
    diagnosis = summary.get("diagnosis") or {}
    return {
        "claims": verdicts.claim_rows(summary),
        "causes": [clean(s) for s in diagnosis.get("sentences") or []],
        "suspects": verdicts.diagnosis_table(diagnosis),
        "family": plural(int(number(diagnosis.get("family")) or 0), "interval"),
    }


def _side_by_side(summary: dict[str, Any]) -> dict[str, Any]:
    """The seed systems beside each other."""
    return {
        "systems": systems.families(summary),
        "training": systems.by_training(summary),
        "matched": systems.matched_table(summary),
        "published": systems.claims(summary),
    }


def _data_facts(summary: dict[str, Any]) -> dict[str, str]:
    """The data that the sweep was run on: name and digest."""
    known = [(d.get("name"), d.get("digest")) for d in summary.get("data") or []]
    words = [f"{name or 'unnamed'}, digest {digest}" for name, digest in known if digest]
    return {"data": "; ".join(words)} if words else {}


def _dense_models(summary: dict[str, Any]) -> int:
    dense = summary.get("dense") or {}
    return int((dense.get("before_fine_tuning") or dense).get("n") or 0)


def _cost_words(cost: dict[str, Any]) -> dict[str, str]:
    return {
        "spent": headline.cost_words(cost),
        "predicted": clean(cost.get("predicted_words"), 200),
        "wall": "" if cost.get("wall_s") is None else duration(cost["wall_s"]),
    }


def style(shown: dict[str, Any]) -> str:
    """The style sheet of a page, with a rule for the least width of every table that it shows."""
    tables = [part for part in shown.values() if isinstance(part, Table)]
    tables += [t for family in shown.get("systems", []) for t in (family.systems, family.controls)]
    tables += [figure.table for place in shown.get("figures", {}).values() for figure in place]
    stacked = asset("report_stacked.css")
    rules = [
        stacked.replace("WIDTH", f"{px}")
        .replace("MEDIUM", medium)
        .replace("LIMIT", f"{round(letters * px)}")
        for px in sorted({t.least_px for t in tables})
        for medium, letters in _LETTERS.items()
    ]
    return "\n".join([asset("report.css"), *rules])


_LETTERS = {"screen": 1.0, "print": 0.75}
"""How large letters in tables are, as a part of those on the screen; see `report.css`."""


@cache
def asset(name: str) -> str:
    """A file of this package, as text."""
    return package_files("dashboards").joinpath(name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    """A Content-Security-Policy source that allows exactly this inline text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def coded(text: str) -> Markup:
    """A sentence as HTML: text in backticks as code, no line break in `30 %`, all else escaped."""
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))
