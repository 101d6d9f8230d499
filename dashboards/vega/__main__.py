"""`python -m dashboards.vega`: makes `bundle.js` again, after a change of vl-convert."""

from pathlib import Path

from dashboards.vega.bundle import build

if __name__ == "__main__":
    Path(__file__).with_name("bundle.js").write_text(build(), "utf-8")
