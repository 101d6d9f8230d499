"""The user's folder, locale, account and temporary folder, each as bad as it comes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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


COMMANDS = (
    ("list",), ("plan", "digits"), ("status",), ("schema",), ("--help",), ("run", "--help"),
    ("doctor", "digits"), ("plan", "größe.yaml"), ("select", "digits"), ("gc", "--dry-run"),
    ("report", "digits"), ("export", "digits", "--output", "größe"), ("größe",),
    ("status", "digits", "--watch", "--json"), ("schema", "--markdown"),
)  # fmt: skip

ONE_AFTER_THE_OTHER = """\
import json, os, sys
commands, to = json.loads(sys.argv[1]), sys.argv[2]
from orchestrator import surroundings
surroundings.prepare()
from orchestrator.cli import main
for number, args in enumerate(commands):
    with open(f"{to}/{number}.out", "wb") as out, open(f"{to}/{number}.err", "wb") as err:
        os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
    sys.argv[:] = ["lotus", *args]
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    sys.stdout.flush(), sys.stderr.flush()
    with open(f"{to}/{number}.code", "w") as file:
        file.write(str(code))
"""
"""All commands in one process, which takes seconds to import what they need."""


@dataclass(frozen=True)
class Said:
    """What a command has said and its exit code."""

    out: bytes
    err: bytes
    code: str


@pytest.fixture(scope="module")
def in_both_locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Said]]:
    """Of each command, in turn, in an ASCII locale and in that of the tests."""
    found = {}
    for name, locale in {"ascii": ASCII, "full": {}}.items():
        folder, to = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp("said")
        program = [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(COMMANDS), str(to)]
        subprocess.run(program, cwd=folder, env=own(**locale), check=True, timeout=600)
        found[name] = [
            Said(*(to.joinpath(f"{i}.{one}").read_bytes() for one in ("out", "err")),
                 to.joinpath(f"{i}.code").read_text())
            for i in range(len(COMMANDS))
        ]  # fmt: skip
    return found


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[" ".join(one) for one in COMMANDS])
def test_every_command_says_in_ascii_what_it_says(
    number: int, in_both_locales: dict[str, list[Said]]
) -> None:
    shown, full = (in_both_locales[locale][number] for locale in ("ascii", "full"))
    assert shown.code == full.code
    assert full.out + full.err
    assert (shown.out + shown.err).isascii()
    assert b"Traceback" not in shown.err
    words = [word for word in full.out.decode().split() if word.isascii() and word.isalpha()]
    assert set(words) <= set(shown.out.decode().split())


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
def test_a_sweep_runs_whatever_its_surroundings_are(
    crowded: Path, nameless: dict[str, str], tmp_path: Path
) -> None:
    """All at once, each as in the wild.

    A user without a name and a home, as in a container with `--user 12345`. A temporary folder too
    long for sockets, whose paths have 107 bytes at most. An ASCII locale with colours asked for in
    a log: what ASCII lacks is replaced, and no line is written over. A working directory full of
    foreign modules: neither the driver nor Ray's workers nor the process that publishes the best
    model imports one.
    """
    folder, long = crowded / "größe θ", tmp_path / ("long" * 25)
    folder.mkdir()
    long.mkdir()
    path, arm = tiny_sweep(folder), "search.arm=[magnitude]"
    name = str(path.relative_to(crowded))
    done = subprocess.run(
        [*AS_NOBODY, LOTUS, "run", name, "--set", arm],
        cwd=crowded,
        env=nameless | ASCII | {"FORCE_COLOR": "1", "TMPDIR": str(long)},
        capture_output=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == b""
    assert set(look(path, [arm]).statuses) == {"FINISHED"}

    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()
    assert b"! MLflow" not in done.stdout, "the best model is published"

    assert f"Ray keeps its files in /tmp/ray, not in {long}: too long".encode() in done.stdout
    assert not (crowded / "~").exists()

    assert done.stdout.isascii()
    assert b"trials 0 done, 0 running, 0 failed of 1 * shared stages" in done.stdout
    assert b"Traceback" not in done.stdout
    for cursor in (b"\x1b[?25l", b"\x1b[2K", b"\x1b[1A", b"\r"):
        assert cursor not in done.stdout
    assert b"\x1b[" in done.stdout, "the colours were asked for"


@pytest.mark.parametrize("command", [("list",), ("status",), ("doctor",), ("plan", "digits")])
def test_a_user_without_a_name_can_give_every_command(
    command: tuple[str, ...], nameless: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*AS_NOBODY, LOTUS, *command], cwd=tmp_path, env=nameless, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
