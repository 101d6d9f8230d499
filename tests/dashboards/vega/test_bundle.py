"""The committed bundle is what `make vega` makes, and the page's script asks nobody."""

import re

from dashboards.vega import bundle
from dashboards.vega.embed import script


def test_the_bundle_was_made_by_the_installed_versions() -> None:
    """Building takes half a minute, so what it says of itself is compared. Else: `make vega`."""
    assert f'version:"{bundle.version()}"' in bundle.bundle()


def test_the_bundle_has_what_the_mount_script_uses() -> None:
    offered = bundle.bundle().rsplit("window.lotusVega=", 1)[1]
    used = set(re.findall(r"\bvega\.(\w+)", bundle.mount()))
    assert used == {"compile", "parse", "View", "interpreter"}
    assert used <= set(re.findall(r"(\w+)(?=[:,}])", offered))


def test_the_bundle_leaves_one_name_to_the_page() -> None:
    text = bundle.bundle()
    assert text.startswith('(() => {"use strict";\n')
    assert text.endswith("\n})();\n")
    assert set(re.findall(r"\bwindow\.(\w+)=", text)) == {"lotusVega"}
    assert bundle.mount().rstrip().endswith("})();")


def test_the_mount_script_evaluates_no_text_and_writes_none_as_html() -> None:
    for word in ("eval(", "Function(", "innerHTML", "insertAdjacentHTML", "document.write"):
        assert word not in bundle.mount()
    assert "ast: true" in bundle.mount()


def test_the_script_ends_nowhere_early_and_is_not_too_large() -> None:
    text = script()
    assert "</script" not in text.lower()
    assert "<!--" not in text
    assert 600_000 < len(text.encode()) < 950_000
