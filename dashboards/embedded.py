"""Files inside the page, so that a page that was sent alone has them."""

import base64
import csv
import gzip
import io
from dataclasses import dataclass

from dashboards.files import disarm
from dashboards.tables import Table
from dashboards.text import plural

MOST_BYTES = 4_000_000
"""The largest embedded table of trials, compressed."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A file as the page offers it: a data address, its name, and a sentence about it."""

    href: str
    name: str
    words: str


def link(content: bytes, kind: str) -> str:
    """A data address of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def csv_link(table: Table) -> str:
    """A table of the page as CSV: numbers in full precision, fractions as such."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([disarm(head) for head in table.heads])
    for row in table.rows:
        writer.writerow([disarm(c.more or c.text) if c.value is None else c.value for c in row])
    return link(out.getvalue().encode("utf-8", "replace"), "text/csv")


def text_link(text: str) -> str:
    """A text as a file."""
    return link(text.encode("utf-8", "replace"), "text/plain")


def all_trials(content: bytes, count: int) -> Embedded | None:
    """`trials.csv`, compressed; None without trials, or if it is too large for a page.

    The script unpacks it, so that a click gives the plain table. Without the script a click gives
    the compressed one.
    """
    if not count:
        return None
    packed = gzip.compress(content, compresslevel=6, mtime=0)
    if len(packed) > MOST_BYTES:
        return None
    words = f"Every parameter and metric of {plural(count, 'trial')}:"
    return Embedded(link(packed, "application/gzip"), "trials.csv.gz", words)
