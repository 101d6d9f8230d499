"""The user's folder, locale, account and temporary folder, each as bad as it comes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import LOTUS, ROOT, Program, environment, look

from tests.conftest import tiny_sweep

ASCII = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
}

MODULES = (
    "trials", "orchestrator", "dashboards", "yaml", "types", "json", "logging", "mlflow", "ray",
    "torch", "numpy", "click", "rich", "uvicorn", "sqlalchemy", "sitecustomize", "usercustomize",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no program behind."""
    yield
    Program.end_all()


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with modules of many names, each of which ends who imports it and says so."""
    folder = tmp_path / "crowded"
    folder.mkdir()
    for name in MODULES:
        said = f"open({str(tmp_path / 'imported')!r}, 'a').write('{name} ')"
        (folder / f"{name}.py").write_text(f"{said}\nraise SystemExit('a foreign {name}')\n")
    return folder


def own(**more: str) -> dict[str, str]:
    """The environment of a user: without the import path of the tests, the package installed."""
    found = environment()
    del found["PYTHONPATH"]
    return found | more


def lotus(*args: str, cwd: Path = ROOT, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """`lotus` as it is installed."""
    command = [LOTUS, *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_sweep_imports_nothing_from_the_users_folder(crowded: Path, tmp_path: Path) -> None:
    """Neither the driver nor Ray's workers nor the process that publishes the best model."""
    path = tiny_sweep(tmp_path)
    args = ("run", str(path), "--set", "search.arm=[magnitude]")
    program = Program.start(tmp_path / "log", *args, env=own(), cwd=crowded, lotus=[LOTUS])
    assert program.wait() == 0, program.said
    assert set(look(path, [args[-1]]).statuses) == {"FINISHED"}
    assert "Traceback" not in program.said
    assert "! MLflow" not in program.said
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()


@pytest.mark.parametrize("entries", [":/nowhere", "/nowhere:", ".", "./:/nowhere"])
def test_an_empty_entry_of_the_import_path_does_not_bring_the_users_folder(
    crowded: Path, entries: str, tmp_path: Path
) -> None:
    """As of `PYTHONPATH=$PYTHONPATH:/mine`. Python itself starts before us, with what it needs."""
    for name in ("orchestrator", "types", "json", "logging", "sitecustomize", "usercustomize"):
        (crowded / f"{name}.py").unlink()
    done = lotus("plan", "digits", cwd=crowded, env=own(PYTHONPATH=entries))
    assert done.returncode == 0, done.stderr.decode()
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()


def test_folders_that_the_import_path_names_stay_for_all_processes(tmp_path: Path) -> None:
    program = (
        "import sys, os, json\n"
        "from orchestrator.surroundings import leave_working_directory_out\n"
        "leave_working_directory_out()\n"
        "named = os.environ['PYTHONPATH']\n"
        "print(json.dumps([named, sys.path, os.environ['PYTHONSAFEPATH']]))\n"
    )
    (tmp_path / "below").mkdir()
    path = os.pathsep.join([str(ROOT), "", "below", str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=own(PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    named, found, safe = json.loads(done.stdout)
    assert named == os.pathsep.join([str(ROOT), f"{tmp_path}/below", str(tmp_path)])
    assert {str(ROOT), f"{tmp_path}/below", str(tmp_path)} < set(found)
    assert "" not in found
    assert safe == "1"


def test_the_mlflow_ui_imports_nothing_from_the_users_folder(
    crowded: Path, tmp_path: Path, database: str
) -> None:
    """MLflow's server starts further processes, and its server of pages looks where it stands."""
    from programs import answers, free_port

    from orchestrator.tracking.connection import connect

    connect(database)
    port = free_port()
    args = ("ui", "--tracking-uri", database, "--port", str(port))
    program = Program.start(tmp_path / "log", *args, env=own(), cwd=crowded, lotus=[LOTUS])

    def up() -> bool:
        try:
            answers(f"127.0.0.1:{port}")
        except OSError:
            return False
        return True

    program.until(up, 300)
    program.interrupt("SIGTERM")
    program.wait(60)
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()


@pytest.mark.slow
def test_a_sweep_in_an_ascii_locale_runs_and_colours_asked_for_make_no_terminal_of_a_log(
    tmp_path: Path,
) -> None:
    """What ASCII lacks is replaced; no line is written over, and the cursor stays where it is."""
    folder = tmp_path / "größe θ"
    folder.mkdir()
    path = tiny_sweep(folder)
    args = ("run", path.name, "--set", "search.arm=[magnitude]")
    env = own(**ASCII, FORCE_COLOR="1")
    program = Program.start(tmp_path / "log", *args, env=env, cwd=folder, lotus=[LOTUS])
    assert program.wait() == 0, program.said
    said = (tmp_path / "log").read_bytes()
    assert said.isascii()
    assert b"trials 0 done, 0 running, 0 failed of 1 * shared stages" in said
    assert b"Traceback" not in said
    for cursor in (b"\x1b[?25l", b"\x1b[2K", b"\x1b[1A", b"\r"):
        assert cursor not in said
    assert b"\x1b[" in said, "the colours were asked for"
    assert set(look(path, [args[-1]]).statuses) == {"FINISHED"}


@pytest.mark.parametrize(
    "args",
    [
        ("list",), ("plan", "digits"), ("status",), ("schema",), ("--help",), ("run", "--help"),
        ("doctor", "digits"), ("plan", "größe.yaml"), ("select", "digits"), ("gc", "--dry-run"),
        ("report", "digits"), ("export", "digits", "--output", "größe"), ("größe",),
        ("status", "digits", "--watch", "--json"), ("schema", "--markdown"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_says_in_ascii_what_it_says(args: tuple[str, ...], tmp_path: Path) -> None:
    shown = lotus(*args, cwd=tmp_path, env=own(**ASCII))
    full = lotus(*args, cwd=tmp_path, env=own())
    assert shown.returncode == full.returncode
    assert (shown.stdout + shown.stderr).isascii()
    assert b"Traceback" not in shown.stderr
    words = [word for word in full.stdout.decode().split() if word.isascii() and word.isalpha()]
    assert set(words) <= set(shown.stdout.decode().split())


def test_a_pipe_whose_reader_is_gone_and_a_full_disk_end_nothing(tmp_path: Path) -> None:
    path = tiny_sweep(tmp_path)
    for out in ("| true", "> /dev/full", ">&-"):
        command = f"set -o pipefail; {LOTUS} plan {path} {out}"
        done = subprocess.run(
            ["bash", "-c", command], env=own(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), out


AS_NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
"""Runs a command as a user whom the system does not know, and who may do what we may."""


@pytest.fixture
def nameless() -> dict[str, str]:
    """The environment of such a user; skips where no such can be had."""
    try:
        subprocess.run([*AS_NOBODY, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no user namespace can be made here: {error}")
    env = own()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME", "RAY_AUTH_TOKEN_PATH"):
        env.pop(name, None)
    return env


@pytest.mark.slow
def test_a_user_without_a_name_and_a_home_runs_a_sweep_below_a_long_temporary_folder(
    nameless: dict[str, str], tmp_path: Path
) -> None:
    """As in a container with `--user 12345`; sockets have paths of 107 bytes at most."""
    path, long = tiny_sweep(tmp_path), tmp_path / ("long" * 25)
    long.mkdir()
    done = subprocess.run(
        [*AS_NOBODY, LOTUS, "run", str(path), "--set", "search.arm=[magnitude]"],
        cwd=tmp_path,
        env=nameless | {"TMPDIR": str(long)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert f"Ray keeps its files in /tmp/ray, not in {long}: too long" in done.stdout
    assert set(look(path, ["search.arm=[magnitude]"]).statuses) == {"FINISHED"}
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("command", [("list",), ("status",), ("doctor",), ("plan", "digits")])
def test_a_user_without_a_name_can_give_every_command(
    command: tuple[str, ...], nameless: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*AS_NOBODY, LOTUS, *command], cwd=tmp_path, env=nameless, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
