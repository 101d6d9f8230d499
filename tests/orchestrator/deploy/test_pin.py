"""Images by digest: `make pin`, with a `docker` that stands for a registry, and the files.

And uv by hash, in the two places that install it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from composed import ROOT

from orchestrator.deploy import pin

SCRIPT = ROOT / "orchestrator/deploy/pin.py"
UV = ROOT / "orchestrator/deploy/uv.txt"

DOCKER = """#!/bin/sh
for image; do :; done
case $image in *ABSENT*) echo "no such image" >&2; exit 1;; esac
echo "sha256:$(printf '%s' "$image" | sha256sum | cut -d ' ' -f 1)"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that refer to images, on their own."""
    for path in pin.files(ROOT):
        copy = tmp_path / "tree" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path / "tree"


def pinned(tree: Path, docker: str = DOCKER) -> subprocess.CompletedProcess[str]:
    """`make pin` there."""
    programs = tree.parent / "bin"
    programs.mkdir(exist_ok=True)
    if docker:
        (programs / "docker").write_text(docker)
        (programs / "docker").chmod(0o755)
    path = f"{programs}:/usr/bin:/bin" if docker else str(programs)
    return subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), str(tree)],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def content(tree: Path) -> dict[str, str]:
    """What the files say."""
    return {str(path.relative_to(tree)): path.read_text() for path in pin.files(tree)}


def test_every_image_gets_the_digest_of_its_tag_and_nothing_else_changes(tree: Path) -> None:
    before = content(tree)
    assert (done := pinned(tree)).returncode == 0, done.stderr
    found = [match for _, match in pin.references(tree)]
    assert len(found) == len(list(pin.references(ROOT))) >= 10
    assert all(match["digest"] for match in found)
    assert "postgres:17.6-bookworm@sha256:" in done.stdout
    assert "lotus-sweep" not in done.stdout
    after = content(tree)
    bare = {name: re.sub(r"@sha256:[0-9a-f]{64}", "", text) for name, text in after.items()}
    assert bare == {n: re.sub(r"@sha256:[0-9a-f]{64}", "", text) for n, text in before.items()}
    assert pinned(tree).returncode == 0
    assert content(tree) == after, "pinned again it is the same"


def test_a_moved_tag_gets_its_new_digest(tree: Path) -> None:
    pinned(tree)
    assert pinned(tree, DOCKER.replace("'%s'", "'moved-%s'")).returncode == 0
    digests = defaultdict(set)
    for _, match in pin.references(tree):
        digests[match["name"]].add(match["digest"])
    assert all(len(known) == 1 for known in digests.values())


@pytest.mark.parametrize(
    "docker", ["", DOCKER.replace("ABSENT", "grafana"), DOCKER.replace("sha256:$", "$")]
)
def test_a_digest_that_cannot_be_learned_leaves_everything_as_it_was(
    tree: Path, docker: str
) -> None:
    before = content(tree)
    done = pinned(tree, docker)
    assert done.returncode == 1
    assert "cannot be learned" in done.stderr
    assert content(tree) == before


def test_no_tag_floats_and_an_image_is_the_same_everywhere() -> None:
    known = defaultdict(set)
    for path, match in pin.references(ROOT):
        version = re.search(r"\d+\.\d+", match["tag"])
        assert version, f"{path.name}: {match[0].strip()} is another image tomorrow"
        known[match["name"]].add((match["tag"], match["digest"]))
    assert known.keys() >= {"postgres", "python", "grafana/grafana", "prom/prometheus"}
    assert [name for name, forms in known.items() if len(forms) > 1] == []


def test_every_line_that_names_an_image_is_seen() -> None:
    """One that the pattern does not know would never get a digest."""
    for path in pin.files(ROOT):
        stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)", path.read_text()))
        for line in path.read_text().splitlines():
            if not re.match(r"\s*-?\s*image: |FROM |# syntax=", line):
                continue
            if line.startswith("FROM ") and line.split()[1] in stages:
                continue
            assert pin.REFERENCE.match(line), line


def test_uv_is_installed_by_hash_in_both_places() -> None:
    text = UV.read_text()
    (version,) = re.findall(r"(?m)^uv==(\S+) ", text)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) > 10, "of every platform"
    for name in ("Dockerfile", "Makefile"):
        said = (ROOT / name).read_text().replace("\\\n", " ")
        installs = [
            line for line in said.splitlines() if re.search(r"pip install .*(?<!/)\buv\b", line)
        ]
        plain = [line for line in installs if "uv.txt" not in line and "uv pip install" not in line]
        assert plain == [], name
        assert re.search(r"pip install .*--require-hashes .*uv\.txt", said), name
    done = subprocess.run(
        [str(Path(sys.executable).parent / "uv"), "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[1] == version


def test_a_uv_that_is_not_the_one_of_the_file_is_refused(tmp_path: Path) -> None:
    version = re.search(r"(?m)^uv==(\S+)", UV.read_text())
    assert version
    wheel = tmp_path / f"uv-{version[1]}-py3-none-any.whl"
    wheel.write_bytes(b"not the uv that was looked at")
    command = [sys.executable, "-m", "pip", "download", "--no-index", "--no-deps"]
    command += [
        f"--find-links={tmp_path}",
        "--require-hashes",
        "-r",
        str(UV),
        "-d",
        str(tmp_path / "d"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_FIND_LINKS": ""},
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
