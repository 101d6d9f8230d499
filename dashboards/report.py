"""The files of a report: one self-contained HTML page, and its data."""

import json
from pathlib import Path

from dashboards import figures, files
from dashboards.data import ReportData, plain, without_passwords
from dashboards.page import render


def write_report(data: ReportData, output: Path) -> Path:
    """Write the report of a sweep; equal data give equal bytes.

    Writes report.html, summary.json, trials.csv, files.json and figures/*.png under `output`,
    which is created if missing; no figures/*.png while the sweep runs. Files of an earlier report
    that this one does not write are removed; other files are left alone.

    Args:
        data: what the report shows. Columns, summary entries and whole tables may be missing.
        output: a folder.

    Returns:
        The path of report.html.

    Raises:
        TypeError: the summary contains something that has no JSON form.
        OSError: `output` cannot be written.
    """
    data = without_passwords(data)
    summary = plain(data.summary)
    drawings = figures.drawn(summary)
    pictures = files.chosen_pictures(data.pictures)
    # Not while a sweep runs: of what a page costs, pictures for other programs are the most.
    pngs = {} if data.live else {f"{d.name}.png": d.png for d in drawings}
    pngs |= {f"{files.picture_name(p)}.png": p.png for p in pictures}
    output = Path(output)
    contents = {f"figures/{name}": png for name, png in pngs.items()}
    before = files.written_before(output / files.LIST, files.below(output))
    for stale in before - contents.keys() - files.ALWAYS:
        (output / stale).unlink(missing_ok=True)
    files.write_whole(output / files.LIST, files.listing(contents))  # before what it lists
    for name, png in contents.items():
        files.write_whole(output / name, png)
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write_whole(output / "summary.json", text.encode())
    csv = files.trials_csv(data.trials)
    files.write_whole(output / "trials.csv", csv)
    page = render(summary, data, drawings, pictures, csv)
    path = output / "report.html"
    files.write_whole(path, page.encode("utf-8", "replace"))
    return path
