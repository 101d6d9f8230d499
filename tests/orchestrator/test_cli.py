"""The command line: codes, help, JSON; nothing that a user can mend shows a traceback."""

import ast
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import click
import pytest
import yaml
from click.shell_completion import ShellComplete

from orchestrator import cli as command_line
from orchestrator.commands import files
from orchestrator.planning import sweepfile
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sections import StorageSection, TrackingSection
from orchestrator.planning.sweepfile import about, bundled, load_sweep, resolved_yaml
from orchestrator.remote.laptop import _hints
from orchestrator.versions import VERSION
from tests.conftest import COMMAND, loaded_by
from tests.orchestrator.commands.screens import said, screen

Lotus = Callable[..., tuple[int, str, str]]

COMMANDS = sorted(command_line.cli.commands)


def test_the_commands_of_the_interface_are_there() -> None:
    assert {"run", "plan", "status", "report", "select", "doctor", "ui", "schema"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, lotus: Lotus) -> None:
    code, out, _ = lotus(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: lotus {command}")
    assert command_line.cli.commands[command].help


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_in_whole_sentences_within_80_columns(
    command: str, lotus: Lotus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = lotus(*filter(None, [command]), "--help")
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("[ARGS]...", ""), "cut off"
    shown = command_line.cli.commands[command] if command else command_line.cli
    helps = [option.help for option in shown.params if isinstance(option, click.Option)]
    for text in (shown.help, *helps):
        assert text
        assert re.fullmatch(r"[A-Z](.|\n)*\.", text.strip()), text
        assert not re.search(r" = |; default|as for", text, re.IGNORECASE), text


def test_the_program_itself_has_help_and_a_version(lotus: Lotus) -> None:
    code, out, _ = lotus("-h")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    assert lotus("--version") == (0, f"lotus, version {VERSION}\n", "")


def test_the_help_lists_every_command_once_in_its_section(lotus: Lotus) -> None:
    _, out, _ = lotus("--help")
    listed = [command.name for commands in command_line.SECTIONS.values() for command in commands]
    assert sorted(filter(None, listed)) == COMMANDS
    for title, commands in command_line.SECTIONS.items():
        section = out.split(f"\n{title}:\n")[1].split("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines()] == [one.name for one in commands]
    for shell in ("bash", "zsh", "fish"):
        assert f"_LOTUS_COMPLETE={shell}_source lotus" in out


EXAMPLES = [
    (command, line)
    for commands in command_line.SECTIONS.values()
    for command, lines in commands.items()
    for line in lines
]


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_every_example_of_a_help_can_be_typed(
    command: click.Command, line: str, lotus: Lotus
) -> None:
    program, name, *args = shlex.split(line.partition(" > ")[0])
    assert (program, name) == ("lotus", command.name)
    assert command.make_context(str(name), args).command is command
    assert f"  {line}\n" in lotus(name, "--help")[1]


def test_a_shell_offers_commands_sweeps_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(typed: str) -> list[str]:
        *words, incomplete = typed.split(" ")
        complete = ShellComplete(command_line.cli, {}, "lotus", "_LOTUS_COMPLETE")
        found = complete.get_completions(words, incomplete)
        return [one.value if one.type == "plain" else one.type for one in found]

    assert offered("st") == ["status", "stop"]
    assert offered("run di") == ["digits", "file"]
    assert offered("doctor ") == [*bundled(), "file"]
    assert "--watch" in offered("status --")


@pytest.mark.parametrize(
    ("typed", "meant"), [("digit", "digits"), ("Digits", "digits"), ("my.yml", "my.yaml")]
)
def test_what_is_misspelt_is_suggested(
    typed: str, meant: str, lotus: Lotus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").touch()
    code, _, err = lotus("plan", typed)
    assert code == 2
    assert f"did you mean `{meant}`?" in err
    assert "Did you mean 'status'?" in lotus("statsu")[2]


@pytest.mark.parametrize("other", [("--json",), ("--address", "http://head:8265")])
def test_what_is_watched_is_no_json_and_no_job(other: tuple[str, ...], lotus: Lotus) -> None:
    code, _, err = lotus("status", "digits", "--watch", *other)
    assert code == 2
    assert "--watch shows a screen" in err


def test_a_finished_sweep_is_watched_once(tracked_trial: Any, lotus: Lotus) -> None:
    code, out, err = lotus("status", str(tracked_trial.path), "--watch")
    assert (code, err) == (0, "")
    assert out == "tracked-trial/tiny  1 of 1 trials finished\n"


@pytest.mark.parametrize(
    "args",
    [
        ("nope",),
        ("plan",),
        ("plan", "digits", "--nope"),
        ("run", "digits", "extra"),
        ("select", "digits", "--tolerance", "2"),
        ("select", "digits", "--tolerance", "much"),
        ("select", "digits", "--tracking-uri", "ftp://x"),
        ("status", "--tracking-uri", "./mlruns"),
        ("report", "digits", "--tracking-uri", "x"),
        ("ui", "--tracking-uri", "x"),
        ("plan", "no-such-sweep"),
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_2(args: tuple[str, ...], lotus: Lotus) -> None:
    code, out, err = lotus(*args)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.validation=9999", "data.validation = 9999"),
        ("storage.path=nothing://x", "storage.path = nothing://x cannot be used"),
    ],
)
def test_what_only_shows_later_ends_with_1_and_one_line(
    override: str, expected: str, sweep_file: Callable[..., Path], lotus: Lotus
) -> None:
    code, out, err = lotus("plan", str(sweep_file()), "--set", override)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.name=vit_tiny_patch16_225", "model.name = vit_tiny_patch16_225: timm"),
        ("model.kwargs.foo=3", "model.kwargs: timm cannot build"),
        ("tickets.block=7", "tickets.block = 7: "),
    ],
)
def test_settings_that_do_not_fit_the_model_are_wrong_use_and_end_with_2(
    override: str, expected: str, sweep_file: Callable[..., Path], lotus: Lotus
) -> None:
    code, out, err = lotus("plan", str(sweep_file()), "--set", override)
    title, problem = err.strip().splitlines()
    assert (code, out) == (2, "")
    assert title.endswith("1 problem")
    assert problem.strip().startswith(expected)


def test_an_interrupt_ends_with_130(
    sweep_file: Callable[..., Path], lotus: Lotus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweepfile, "load_sweep", interrupted)
    code, _, err = lotus("plan", str(sweep_file()))
    assert code == 130
    assert "Everything finished is kept" in err


def test_the_plan_as_json(sweep_file: Callable[..., Path], lotus: Lotus, tmp_path: Path) -> None:
    path = sweep_file("search: {arm: [lotus, dense], patch_drop: [0.1, 0.2]}\n")
    before = set(tmp_path.iterdir())
    code, out, _ = lotus("plan", str(path), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["sweep"] == "tiny"
    assert found["trials"] == {"planned": 3, "missing": 3, "failed": 0}
    assert found["names"] == [
        "lotus-s0.30-d0.10-f0.10-seed0",
        "dense-seed0",
        "lotus-s0.30-d0.20-f0.10-seed0",
    ]
    assert found["stored"] == 0
    assert found["device_hours"] > 0
    smallest = found["smallest_difference"]
    assert (smallest["seeds"], smallest["settings"], smallest["comparisons"]) == (1, 3, 1)
    assert smallest["difference"] == pytest.approx(1.96 * (0.1 / smallest["images"]) ** 0.5, 0.001)
    assert set(tmp_path.iterdir()) == before  # it runs nothing and writes nothing


def test_the_plan_in_words(sweep_file: Callable[..., Path], lotus: Lotus) -> None:
    code, out, _ = lotus("plan", str(sweep_file()))
    assert code == 0
    assert "1, of which 1 to run" in out
    assert "10, of which 0 stored" in out
    assert "a guess" in out
    assert "told apart" not in out, "a single trial is compared with nothing"
    code, out, _ = lotus("plan", str(sweep_file("search: {arm: [lotus, dense]}\n")))
    assert "smallest difference told apart" in out
    assert "points at best" in out


def test_a_finished_sweep_plans_nothing(tracked_trial: Any, lotus: Lotus) -> None:
    code, out, _ = lotus("plan", str(tracked_trial.path), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["trials"] == {"planned": 1, "missing": 0, "failed": 0}
    assert (found["stages"], found["stored"], found["device_hours"]) == (10, 10, 0.0)


@pytest.mark.parametrize("command", ["select", "report"])
def test_nothing_can_be_read_before_a_run(
    command: str, sweep_file: Callable[..., Path], lotus: Lotus, tmp_path: Path
) -> None:
    args = ["--json"] if command == "select" else []
    code, out, err = lotus(command, str(sweep_file()), *args)
    assert (code, out) == (1, "")
    assert err.startswith("Error: tiny has ")
    assert "run it first" in err
    assert not (tmp_path / "mlflow.db").exists()


def test_status_before_a_run_is_all_missing(
    sweep_file: Callable[..., Path], lotus: Lotus, tmp_path: Path
) -> None:
    code, out, _ = lotus("status", str(sweep_file()), "--json")
    assert code == 0
    (row,) = json.loads(out)
    empty = {"bytes": 0, "stages": {}, "freeable_bytes": 0, "freeable_error": None}
    assert row.pop("store") == {"path": ANY, **empty}
    assert [row] == [
        {
            "sweep": "tiny", "planned": 1, "finished": 0, "running": 0, "failed": 0, "missing": 1,
            "errors": {}, "waiting": 0, "experiment": "tiny",
        }
    ]  # fmt: skip
    assert lotus("status", "--json", "--tracking-uri", f"sqlite:///{tmp_path}/new/x.db")[:2] == (
        0,
        "[]\n",
    )
    assert not (tmp_path / "new").exists()


def test_status_and_select_of_a_finished_sweep(tracked_trial: Any, lotus: Lotus) -> None:
    path = str(tracked_trial.path)
    code, out, _ = lotus("status", path, "--json")
    assert code == 0
    assert json.loads(out)[0]["finished"] == 1
    assert "tiny" in lotus("status", path)[1]
    code, out, _ = lotus("select", path, "--json", "--tolerance", "0.5")
    assert code == 0
    found = json.loads(out)
    assert found["essential_sparsity"]["tolerance"] == 0.5
    assert found["recommended"]["name"] == "lotus-s0.30-d0.10-f0.10-seed0"
    said = lotus("select", path, "--tolerance", "0.5")[1]
    assert said.splitlines()[:5] == list(found["answer"].values())
    assert "Its model: lotus-s0.30-d0.10-f0.10-seed0, " in said


def test_status_and_select_import_nothing_that_computes(tracked_trial: Any) -> None:
    for command in ("status", "select"):
        loaded = loaded_by(COMMAND, command, str(tracked_trial.path))
        assert "mlflow" in loaded
        assert not loaded & {"torch", "torchvision", "timm", "ray", "optuna"}


def test_a_file_that_is_no_database_is_refused_in_words(
    sweep_file: Callable[..., Path], lotus: Lotus, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, " * 100)
    code, _, err = lotus("select", str(sweep_file()), "--json")
    assert code == 1
    assert err.startswith("Error: ")


@pytest.mark.parametrize("args", [("plan", "FILE"), ("status",), ("gc",), ("ui",)], ids=" ".join)
def test_a_tracking_address_of_the_environment_is_named_when_it_cannot_be_used(
    args: tuple[str, ...], sweep_file: Callable[..., Path], lotus: Lotus,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    path = without_line("tracking:", sweep_file())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    code, out, err = lotus(*(str(path) if arg == "FILE" else arg for arg in args))
    assert (code, out) == (2, "")
    assert "MLFLOW_TRACKING_URI = ./mlruns: must be sqlite:///PATH" in err
    assert "Traceback" not in err


def without_line(start: str, path: Path) -> Path:
    """A sweep file that says one thing less."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(start)), "utf-8")
    return path


def test_it_is_one_problem_among_those_of_the_file(
    sweep_file: Callable[..., Path], lotus: Lotus, monkeypatch: pytest.MonkeyPatch, tiny_text: str
) -> None:
    text = tiny_text.replace("dense: {epochs: 1", "dense: {epochs: 0.5")
    path = without_line("tracking:", sweep_file(text=text))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://me:secret-word@there")
    _, _, err = lotus("plan", str(path))
    first, *problems = err.splitlines()
    assert first == f"{path}: 2 problems"
    assert problems[0].startswith("  dense.epochs = 0.5: ")
    assert problems[1].startswith("  tracking.uri: MLFLOW_TRACKING_URI = ftp://me:***@there: must")


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "LOTUS_STORE"])
def test_a_place_that_is_empty_in_the_environment_is_unset(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "")
    assert TrackingSection().uri == f"sqlite:///{tmp_path}/lotus/mlflow.db"
    assert StorageSection().path == f"{tmp_path}/lotus/store"


def test_an_empty_address_of_a_cluster_is_none_and_its_variable_is_named(
    lotus: Lotus, sweep_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    code, _, err = lotus("logs", str(sweep_file()))
    assert code == 2
    assert "--address" in err
    assert "RAY_API_SERVER_ADDRESS" in lotus("logs", "--help")[1]


def test_a_store_of_the_environment_is_named_when_it_cannot_be_used(
    lotus: Lotus, sweep_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = without_line("storage:", sweep_file())
    monkeypatch.setenv("LOTUS_STORE", "nothing://x")
    code, _, err = lotus("plan", str(path))
    assert code == 1
    assert err.startswith("Error: LOTUS_STORE = nothing://x cannot be used")


def test_what_is_printed_about_a_submitted_sweep_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _hints("my sweeps/ärger #1.yaml", "http://head:8265")
    lines = capsys.readouterr().out.splitlines()
    asked = [shlex.split(line, comments=True)[:5] for line in lines]
    assert asked == [
        ["lotus", command, "my sweeps/ärger #1.yaml", "--address", "http://head:8265"]
        for command in ("logs", "status", "stop")
    ]


def test_the_line_that_loads_an_exported_model_can_be_pasted(
    tracked_trial: Any, lotus: Lotus, tmp_path: Path
) -> None:
    folder = tmp_path / 'my "best", ärger #1'
    code, out, _ = lotus("export", str(tracked_trial.path), "--output", str(folder))
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("Load it")]
    call = ast.parse(line.removeprefix("Load it").strip(), mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.literal_eval(call.args[0]) == f"local-dir:{folder}"


def test_the_user_interface_needs_a_store(lotus: Lotus, tmp_path: Path) -> None:
    code, _, err = lotus("ui", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert code == 1
    assert "no sweep has run there yet" in err
    code, out, _ = lotus("ui", "--tracking-uri", "http://server:5000")
    assert (code, out) == (0, "The tracking server is at http://server:5000\n")


def test_bundled_sweeps_are_listed_with_what_they_are(lotus: Lotus) -> None:
    code, out, _ = lotus("list")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(bundled())
    assert all(re.fullmatch(r"\S+ +[A-Z].*[.?]", line) for line in lines), "whole sentences"


@pytest.mark.parametrize("width", [60, 200])
def test_the_list_on_a_screen_breaks_between_words(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = screen(width)
    monkeypatch.setattr(files, "console", shown)
    command_line.cli.main(["list"], standalone_mode=False)
    words = " ".join(said(shown).split())
    assert max(map(len, said(shown).splitlines())) <= width
    assert all(name in words for name in bundled())
    assert about(bundled()["digits"]).split()[-1] in words


def test_a_plan_comes_before_the_data_and_says_what_it_assumed(
    lotus: Lotus, tmp_path: Path
) -> None:
    args = ("plan", "lotus-paper", "--set", f"data.root={tmp_path}")
    places = ("--set", f"storage.path={tmp_path}/store")
    code, out, err = lotus(*args, *places)
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("  ! ")]
    assert line == (
        f"  ! cifar10 is not in {tmp_path} yet: planned for its published size, 45,000 train, "
        "5,000 validation and 10,000 test images in 10 classes"
    )
    assert "GPU-hours" in out
    assert "stored" not in out, "what is stored cannot be known without the data"
    found = json.loads(lotus(*args, *places, "--json")[1])
    assert found["assumed"] == [line.removeprefix("  ! ")]
    assert found["device_hours"] > 1
    assert list(tmp_path.iterdir()) == []


def test_a_plan_comes_before_the_weights_and_says_what_it_assumed(
    sweep_file: Callable[..., Path], lotus: Lotus
) -> None:
    override = ("--set", "model.pretrained=/nowhere/w.safetensors")
    code, out, _ = lotus("plan", str(sweep_file()), *override)
    assert code == 0
    assert "! model.pretrained = /nowhere/w.safetensors is not there: planned for weights" in out
    assert json.loads(lotus("plan", str(sweep_file()), "--json")[1])["assumed"] == []


def test_a_run_needs_what_a_plan_only_assumes(
    sweep_file: Callable[..., Path], lotus: Lotus, tmp_path: Path
) -> None:
    override = f"data={{name: cifar10, root: {tmp_path}/none}}"
    code, out, err = lotus("run", str(sweep_file()), "--set", override)
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: data.root = {tmp_path}/none holds no CIFAR-10")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "mlflow.db").exists()


def test_the_schema_is_one_and_describes_every_section(lotus: Lotus) -> None:
    code, out, _ = lotus("schema")
    assert code == 0
    schema = json.loads(out)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "data", "model"]
    assert schema["properties"].keys() == SweepConfig.model_fields.keys()
    references = {part.split('"', 1)[0] for part in out.split('"#/$defs/')[1:]}
    assert references == schema["$defs"].keys()


def test_the_schema_agrees_with_what_loads(
    lotus: Lotus, sweep_file: Callable[..., Path], tiny_text: str
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(lotus("schema")[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = yaml.safe_load(tiny_text)
    blocks: list[Any] = [
        {"seed": [0, 1], "issp.merge": ["majority"]},
        {"seed": 3, "sparsity": "auto", "arm": "issp"},
        [{"sparsity": [0.1, "auto"]}, {"method": "random", "samples": 2, "seed": [0, 1]}],
        {
            "method": "optuna",
            "samples": 3,
            "objectives": ["accuracy"],
            "batch": 2,
            "patch_drop": {"low": 0.1, "high": 0.5, "step": 0.1},
            "finetune.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        },
        {"method": "halving", "reduction": 2, "min_epochs": 1, "winners": 2},
    ]
    files = [good, *(good | {"search": block} for block in blocks)]
    files += [yaml.safe_load(path.read_text(encoding="utf-8")) for path in bundled().values()]
    files += [yaml.safe_load(resolved_yaml(load_sweep(sweep_file())))]
    for raw in files:
        assert list(validator.iter_errors(raw)) == []
    for changes in (
        {"search": {"sed": [0]}},
        {"search": {"sparsity": [90]}},
        {"search": {"method": "random", "samples": 2, "patch_drop": {"low": 0.1}}},
        {"search": {"method": "bayes"}},
        {"search": []},
        {"dense": {"epoch": 3}},
        {"name": "a/b"},
        {"name": None},
    ):
        assert list(validator.iter_errors(good | changes))
