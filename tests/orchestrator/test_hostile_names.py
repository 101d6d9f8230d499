"""Free text in a sweep file is refused in words, or is text wherever it is shown."""

import csv
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.table import Table
from rich.text import Text

from orchestrator.commands.terminal import Terminal
from orchestrator.driver import driver
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.tracking.tracker import Tracker, find_sweep
from orchestrator.visible import one_line, visible

HOSTILE = {
    "path": "../../escaped",
    "newline": "a\nReport    http://elsewhere",
    "html": "<script>alert(1)</script>",
    "quote": "a'b\"c`d",
    "long": "x" * 300,
    "right-to-left": "a\u202eb",
    "escape": "\x1b[2J\x1b]0;title\x07",
    "null": "a\0b",
    "half": "a\ud800",
    "emoji": "😀",
    "formula": "=cmd|' /C calc'!A0",
    "markup": "[/red][link=http://elsewhere]",
}

UNSEEN = ("newline", "right-to-left", "escape", "null", "half")


def written(path: Path, tiny_text: str, *changes: tuple[tuple[str, ...], Any]) -> Path:
    """The tiny sweep with some of its values, or names, changed."""
    raw = yaml.safe_load(tiny_text)
    for place, value in changes:
        at = raw
        for name in place[:-1]:
            at = at.setdefault(name, {})
        at[place[-1]] = value
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(
    "place", [("name",), ("experiment",), ("model", "kwargs", "{}"), ("search", "model.kwargs.{}")]
)
def test_what_becomes_a_name_is_refused_in_words(
    place: tuple[str, ...], kind: str, tmp_path: Path, tiny_text: str
) -> None:
    text = HOSTILE[kind]
    named = place[-1].endswith("{}")
    place = tuple(part.replace("{}", text) for part in place)
    path = written(tmp_path / "s.yaml", tiny_text, (place, ["a"] if named else text))
    with pytest.raises(SweepError) as refused:
        load_sweep(path)
    said = str(refused.value)
    assert visible(said) == said
    assert said.count("\n") == len(refused.value.problems)
    assert len(said) < 1000


@pytest.mark.parametrize("kind", UNSEEN)
@pytest.mark.parametrize(
    "place", [("storage", "path"), ("data", "root"), ("model", "kwargs", "a"), ("search", "arm")]
)
def test_no_text_may_hold_what_nobody_sees(
    place: tuple[str, ...], kind: str, tmp_path: Path, tiny_text: str
) -> None:
    path = written(tmp_path / "s.yaml", tiny_text, (place, HOSTILE[kind]))
    with pytest.raises(SweepError) as refused:
        load_sweep(path)
    assert visible(str(refused.value)) == str(refused.value)


@pytest.mark.parametrize("folder", ["a?b", "a%41b"])
def test_a_database_whose_path_its_address_would_change_is_refused(
    folder: str, tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`?` begins options and `%41` is a letter; the working directory may hold them too."""
    odd = tmp_path / folder
    odd.mkdir()
    monkeypatch.chdir(odd)
    for uri in (f"sqlite:///{odd}/mlflow.db", "sqlite:///mlflow.db"):
        path = written(tmp_path / "s.yaml", tiny_text, (("tracking", "uri"), uri))
        with pytest.raises(SweepError, match=r"a SQLite file cannot hold `[?%]`: move it"):
            load_sweep(path)


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained_cfg_overlay", "pretrained_cfg"])
def test_arguments_of_a_model_cannot_load_other_weights(
    name: str, tmp_path: Path, tiny_text: str
) -> None:
    path = written(tmp_path / "s.yaml", tiny_text, (("model", "kwargs", name), "evil.pth"))
    with pytest.raises(SweepError, match=f"{name} would load other weights: write `model.pret"):
        load_sweep(path)


CARRIED = "".join(
    HOSTILE[kind] for kind in ("formula", "html", "path", "quote", "emoji", "markup", "long")
) + ("$\\frac{$ שלום " + "y" * 300)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_free_text_is_text_everywhere_in_a_whole_sweep(
    tmp_path: Path, tiny_text: str, lotus: Callable[..., tuple[int, str, str]]
) -> None:
    """In an axis, in paths of store and database: MLflow, report, table, terminal, folders."""
    place = tmp_path / "in" / "=cmd|'[red]<b onload=x>\" 😀 שלום #1&"
    place.mkdir(parents=True)
    path = written(
        tmp_path / "s.yaml",
        tiny_text,
        (("storage", "path"), f"{place}/store"),
        (("tracking", "uri"), f"sqlite:///{place}/mlflow.db"),
        (("search", "data.root"), [CARRIED]),
    )
    sweep = load_sweep(path)
    code, said, errors = lotus("run", str(path))
    assert code == 0, errors
    assert "Traceback" not in said + errors
    shown = said.replace("\n", "")
    assert "[red]<b onload=x>" in shown
    address = find_sweep(sweep)
    assert address is not None
    tracker = Tracker(address)
    (trial,) = (run for run in tracker.runs() if run.data.tags["lotus.kind"] == "trial")
    assert trial.data.params["data.root"] == CARRIED
    assert trial.info.run_name.startswith("lotus-s0")
    assert "<script>" in trial.info.run_name
    assert tracker.parent().data.tags["lotus.axis.data.root"] == CARRIED
    reports = place / "reports/tiny"
    page = (reports / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<b onload" not in page
    assert html.escape("<script>alert(1)", quote=False) in page
    with (reports / "trials.csv").open(newline="", encoding="utf-8") as table:
        cells = [cell for row in csv.reader(table) for cell in row]
    assert f"'{CARRIED}" in cells
    assert not [cell for cell in cells if cell.startswith("=")]
    assert {one.name for one in tmp_path.iterdir()} == {"in", "s.yaml"}
    assert {one.name for one in place.parent.iterdir()} == {place.name}
    assert not (tmp_path.parent / "escaped").exists()
    for command in (("status",), ("plan",), ("select",), ("report",), ("gc", "--dry-run")):
        code, said, errors = lotus(command[0], str(path), *command[1:])
        assert code == 0, errors
        assert said
    assert driver.run(sweep).ran == 0


def test_a_terminal_shows_characters_that_would_move_its_cursor() -> None:
    for kind, text in HOSTILE.items():
        out = io.StringIO()
        terminal = Terminal(file=out, width=1000, force_terminal=True, color_system=None)
        terminal.print(f"a {text}", highlight=False, soft_wrap=True)
        terminal.print(Text(text, style="red"), soft_wrap=True)
        table = Table(title=Text(text))
        table.add_row(Text(text))
        terminal.print(table)
        said = out.getvalue()
        assert visible(said) == said, kind
        assert one_line(text.replace("\x07", "")).replace("\\n", "\n").splitlines()[0] in said
