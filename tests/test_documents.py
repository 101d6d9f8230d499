"""The documents say what is there: links, anchors, cited decisions, messages and sweep files."""

import ast
import importlib
import re
import shlex
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel

from orchestrator import load_sweep
from orchestrator.cli import cli
from orchestrator.planning.config import SearchBlock, SweepConfig
from orchestrator.planning.sweepfile import bundled

ROOT = Path(__file__).parents[1]
DESIGN = ROOT / "orchestrator/DESIGN.md"
PRODUCT = ("trials", "orchestrator", "dashboards")
ROOMS = (*PRODUCT, "tests", "docs", ".ci")
MOST_WORDS = 1000
PAGES = ("sweep-file", "methods", "seed-systems")
"""Those that name all choices."""

ELSEWHERE = {
    "trials/LOG.md": {"methods.md"},  # entries of a log are not rewritten
    "tests/orchestrator/test_vocabulary.py": {"interface.md"},  # read where it is there
    "tests/test_documents.py": {"methods.md", "interface.md"},
}
"""Documents that are named although they are not here."""


@cache
def tracked() -> tuple[str, ...]:
    """Files of the repository; what is installed, built or kept lies elsewhere."""
    below = [path for room in ROOMS for path in (ROOT / room).rglob("*")]
    found = [path.relative_to(ROOT) for path in (*ROOT.iterdir(), *below) if path.is_file()]
    return tuple(sorted(str(one) for one in found if "__pycache__" not in one.parts))


def documents() -> list[str]:
    """Every Markdown file."""
    return [name for name in tracked() if name.endswith(".md")]


def prose(text: str) -> str:
    """A document without its code blocks."""
    return re.sub(r"^( *)(```+)[^\n]*\n.*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: lower case, only letters, digits, - and _, spaces as -."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    kept = (
        one for one in plain.strip().lower() if one in " -_" or unicodedata.category(one)[0] in "LN"
    )
    return "".join(kept).replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    """All anchors of a document; a heading that stands twice has -1, -2 ..."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(path.read_text("utf-8")), re.MULTILINE):
        name = anchor(heading)
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return frozenset(names)


def links(text: str) -> Iterator[str]:
    """Targets of links and pictures, addresses of the network left out."""
    for target in re.findall(
        r"\]\(([^()\s]+(?:\([^()]*\))?)\)", re.sub(r"`[^`\n]*`", "", prose(text))
    ):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("What has and has not been run", "what-has-and-has-not-been-run"),
        ("2026-11-20 · issp: why `ISSP` collapses", "2026-11-20--issp-why-issp-collapses"),
        ("A data set", "a-data-set"),
    ],
)
def test_anchors_are_those_of_github(heading: str, name: str) -> None:
    assert anchor(heading) == name


def test_every_link_and_anchor_of_every_document_resolves() -> None:
    broken = []
    for name in documents():
        path = ROOT / name
        for target in links(path.read_text("utf-8")):
            file, _, part = target.partition("#")
            there = (path.parent / file).resolve() if file else path
            if not there.exists() or not there.is_relative_to(ROOT):
                broken.append(f"{name}: {target}")
            elif part and there.suffix == ".md" and part not in anchors(there):
                broken.append(f"{name}: {target} has no such heading")
    assert broken == []


def test_every_page_of_the_documentation_is_in_its_index_and_in_the_readme() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    index = set(links((ROOT / "docs/README.md").read_text("utf-8")))
    front = {link.partition("#")[0] for link in links((ROOT / "README.md").read_text("utf-8"))}
    assert pages <= index
    assert {f"docs/{page}" for page in pages} <= front


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= MOST_WORDS


def decisions() -> list[int]:
    """The numbers of the decisions, each a heading, in the order of the document."""
    return [int(n) for n in re.findall(r"^#### (\d+)$", DESIGN.read_text("utf-8"), re.MULTILINE)]


def test_no_number_of_a_decision_is_lost_or_used_twice() -> None:
    assert sorted(decisions()) == list(range(1, max(decisions()) + 1))


def test_the_index_names_every_decision_in_the_order_of_the_document() -> None:
    index = DESIGN.read_text("utf-8").split("\n## Index\n")[1].split("\n## ")[0]
    assert [int(number) for number in re.findall(r"\[(\d+)\]\(#\1\)", index)] == decisions()


CITED = re.compile(
    r"(?:\bDESIGN(?:\.md)? |\b[Dd]ecisions? )(\d+(?:(?:, and | and |, )\d+)*)(?![\d.]*\d)"
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("the default is ours (DESIGN 10).", ["10"]),
        ("our choice (DESIGN.md 7)", ["7"]),
        ("[decision 76](DESIGN.md#76)", ["76"]),
        ("Decisions 2, 3 and 14 say", ["2", "3", "14"]),
        ("a decision of 3 trials", []),
    ],
)
def test_a_citation_is_seen(text: str, numbers: list[str]) -> None:
    assert re.findall(r"\d+", " ".join(CITED.findall(text))) == numbers


def test_every_decision_that_is_cited_exists() -> None:
    known = set(decisions())
    wrong = [
        f"{name}: {number}"
        for name in tracked()
        if name.endswith((".py", ".md", ".toml", ".yaml", ".yml", ".sh", "Makefile"))
        for cited in CITED.findall((ROOT / name).read_text("utf-8"))
        for number in re.findall(r"\d+", cited)
        if int(number) not in known
    ]
    assert wrong == []


def test_no_document_that_is_elsewhere_is_cited() -> None:
    here = {Path(name).name for name in tracked()}
    wrong = []
    for name in tracked():
        if name.endswith((".py", ".md", ".toml", ".yaml", ".yml", ".j2", ".sbatch", "Makefile")):
            text = (ROOT / name).read_text("utf-8")
            cited = set(re.findall(r"(?<![\w*{}])([A-Za-z_][\w-]*\.md)\b", text))
            allowed = {"ABSENT.md"} | ELSEWHERE.get(name, set())
            wrong += [f"{name}: {one}" for one in sorted(cited - here - allowed)]
    assert wrong == []


def test_every_section_of_the_readme_that_is_cited_exists() -> None:
    known = anchors(ROOT / "README.md")
    wrong = [
        f"{name}: {cited}"
        for name in tracked()
        if name.endswith((".py", ".yaml", ".yml", ".sh", "Dockerfile", "Makefile"))
        for cited in re.findall(r"README, [\"“]([^\"”]+)[\"”]", (ROOT / name).read_text("utf-8"))
        if anchor(cited) not in known
    ]
    assert wrong == []


PATH = re.compile(
    r"`((?:trials|orchestrator|dashboards|tests|docs)/[\w./-]*?(?:\.\w+|/))(?:::\w+)?`"
)
"""Files and folders; without an extension it is the name of a metric."""

TODAY = [name for name in documents() if name not in (*ELSEWHERE, "CHANGELOG.md")]
"""Documents that speak of the code as it is, not as it was."""


@pytest.mark.parametrize("name", TODAY)
def test_every_path_of_the_repository_that_is_named_exists(name: str) -> None:
    """NAME stands for what somebody will add: there the folder must exist."""
    named = {path.partition("NAME")[0] for path in PATH.findall((ROOT / name).read_text("utf-8"))}
    there = [path.rpartition("/")[0] if path.endswith("_") else path for path in sorted(named)]
    assert [path for path in there if not (ROOT / path).exists()] == []


HOLE = "\0"


def literals() -> list[str]:
    """Every text of the product, whatever it is filled with as HOLE, spaces as one."""
    found = []
    for name in tracked():
        if name.startswith(PRODUCT) and name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(" ".join(node.value.split()))
                elif isinstance(node, ast.JoinedStr):
                    parts = (
                        one.value if isinstance(one, ast.Constant) else HOLE for one in node.values
                    )
                    found.append(" ".join("".join(map(str, parts)).split()))
    return found


def quoted() -> list[str]:
    """The messages in docs/troubleshooting.md: what stands as code in the first column."""
    rows = re.findall(r"^\| (`+)(.+?)\1 \|", text := _trouble(), re.MULTILINE)
    assert len(rows) == sum(line.startswith("| `") for line in text.splitlines())
    return [" ".join(message.split()) for _, message in rows]


def _trouble() -> str:
    return (ROOT / "docs/troubleshooting.md").read_text("utf-8")


def says(literal: str, message: str) -> bool:
    """Whether a text of the program is what a message quotes; `…` stands for anything."""
    place = 0
    for part in message.split("…"):
        place = literal.find(part.strip(), place)
        if place < 0:
            return False
        place += len(part.strip())
    return True


def test_every_message_that_is_explained_is_one_of_the_program() -> None:
    texts, messages = literals(), quoted()
    assert len(messages) > 40
    assert [one for one in messages if not any(says(text, one) for text in texts)] == []


def snippets() -> Iterator[tuple[str, str]]:
    """Whole sweep files in documents, with the place of each."""
    for name in documents():
        text = (ROOT / name).read_text("utf-8")
        for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            raw = yaml.safe_load(block)
            if isinstance(raw, dict) and {"name", "data", "model"} <= raw.keys():
                yield f"{name}:{text[: text.index(block)].count(chr(10)) + 1}", block


def fragments() -> Iterator[tuple[str, str]]:
    """Parts of sweep files in documents."""
    whole = {place for place, _ in snippets()}
    for name in documents():
        text = (ROOT / name).read_text("utf-8")
        for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            place = f"{name}:{text[: text.index(block)].count(chr(10)) + 1}"
            if place not in whole:
                yield place, block


def test_every_sweep_file_of_the_documents_loads(tmp_path: Path) -> None:
    found = list(snippets())
    assert len(found) >= 2
    for place, text in found:
        path = tmp_path / f"{place.replace('/', '_').replace(':', '_')}.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_sweep(path).name, place


BASE = """
name: base
data: {name: cifar10, root: /data}
model: {name: vit_small_patch16_224}
"""


def test_every_part_of_a_sweep_file_in_the_documents_loads(tmp_path: Path) -> None:
    found = list(fragments())
    assert len(found) >= 5
    for place, text in found:
        raw = yaml.safe_load(BASE) | yaml.safe_load(text)
        path = tmp_path / f"{place.replace('/', '_').replace(':', '_')}.yaml"
        path.write_text(yaml.safe_dump(raw), encoding="utf-8")
        assert load_sweep(path).name, place


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Code in documents, with the document of each."""
    for name in documents():
        text = (ROOT / name).read_text("utf-8")
        for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield name, block


def typed() -> Iterator[tuple[str, list[str]]]:
    """Every `lotus ...` that a document shows to be typed, as words after `lotus`."""
    for name, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "lotus" in words and words[0] in ("lotus", "docker"):  # kubectl names things so too
                yield name, words[words.index("lotus") + 1 :]


def test_every_command_of_the_documents_can_be_typed() -> None:
    found = list(typed())
    assert len(found) > 20
    wrong = []
    for name, (command, *args) in found:
        try:
            cli.commands[command].make_context(command, args)
        except (KeyError, click.ClickException) as error:
            wrong.append(f"{name}: lotus {command} {shlex.join(args)}: {error}")
    assert wrong == []


def test_every_import_of_a_python_sample_is_there() -> None:
    found = list(blocks("python"))
    assert len(found) >= 2
    for name, block in found:
        imported = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
        for node in imported:
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, one.name) for one in node.names), f"{name}: {node.module}"


CHOICES = (
    "search.method",
    "essential.criterion",
    "essential.detector",
    "essential.scope",
    "issp.preset",
    "issp.merge",
    "tickets.score",
    "tickets.sink",
    "tickets.select",
    "tickets.scope",
    "tickets.selection",
    "tickets.removal",
    "finetune.data",
    "finetune.weights",
    "dense.train",
    "dense.no_decay",
    "reduction.method",
    "reduction.count",
    "reduction.r_schedule",
    "reduction.metric",
    "reduction.merge",
    "reduction.random",
    "reduction.token_loss",
    "reduction.token_reduce",
    "reduction.reference_teacher",
)
"""Settings of the sweep file that have a few names as values."""


def choices(setting: str) -> tuple[str, ...]:
    """What the loader takes for a setting."""
    section, _, name = setting.partition(".")
    kind = SearchBlock if section == "search" else SweepConfig.model_fields[section].annotation
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    hint = kind.model_fields[name].annotation
    # None: what follows from other settings where nobody writes it.
    kinds = get_args(hint) if type(None) in get_args(hint) else (hint,)
    return tuple(
        value
        for one in kinds
        if one is not type(None)
        for value in get_args(get_args(one)[0] if get_origin(one) is tuple else one)
    )


def explained(setting: str) -> str:
    """The code in paragraphs and tables that name a setting."""
    name = setting.rpartition(".")[2]
    texts = [prose((ROOT / f"docs/{page}.md").read_text("utf-8")) for page in PAGES]
    blocks = [
        " ".join(re.findall(r"`([^`\n]+)`", block))
        for text in texts
        for block in re.split(r"\n\s*\n", text)
    ]
    return " ".join(block for block in blocks if re.search(rf"\b{name}\b", block))


@pytest.mark.parametrize("setting", CHOICES)
def test_every_choice_of_the_sweep_file_is_in_the_documents(setting: str) -> None:
    allowed, code = choices(setting), explained(setting)
    assert len(allowed) > 1
    assert [one for one in allowed if not re.search(rf"\b{one}\b", code)] == []


def test_every_arm_has_a_row_in_the_documents() -> None:
    text = (ROOT / "docs/sweep-file.md").read_text("utf-8")
    assert [arm for arm in choices("search.arm") if f"\n| `{arm}` |" not in text] == []


def test_every_bundled_sweep_is_in_the_documents() -> None:
    text = (ROOT / "docs/sweep-file.md").read_text("utf-8")
    assert [name for name in bundled() if f"| `{name}` |" not in text] == []


def test_every_tag_that_is_explained_is_one_of_the_program() -> None:
    table = (ROOT / "docs/mlflow.md").read_text("utf-8").split("### Tags")[1].split("### ")[0]
    tags = re.findall(r"`(lotus\.[a-z_.]+)(?:NAME)?`", table)
    texts = set(literals())
    assert len(tags) > 10
    assert [tag for tag in tags if not any(text.startswith(tag) for text in texts)] == []
