"""`make secrets` as a user runs it."""

import stat
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from composed import EXAMPLE, ROOT, env_of, secret_names

SCRIPT = ROOT / "orchestrator/deploy/new_secrets.py"


def made(target: Path) -> subprocess.CompletedProcess[str]:
    """Run it by any Python: it may import nothing that is not Python's own."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(EXAMPLE), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_secret_is_long_random_and_nobody_elses_to_read(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for target in (first, second):
        assert (done := made(target)).returncode == 0, done.stderr
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    values = [env_of(target)[name] for target in (first, second) for name in secret_names()]
    assert len(set(values)) == len(values) == 2 * len(secret_names())
    assert all(len(value) == 40 and value.isalnum() for value in values)
    assert not any(value in done.stdout for value in values)


def test_what_is_not_a_secret_stays_as_the_example_has_it(tmp_path: Path) -> None:
    made(tmp_path / "env")
    lines = zip(
        EXAMPLE.read_text().splitlines(), (tmp_path / "env").read_text().splitlines(), strict=True
    )
    for before, after in lines:
        assert after == before or (after.startswith(before) and before[:-1] in secret_names())


def test_secrets_in_use_are_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "env"
    target.write_text("".join(f"{name}=in-use\n" for name in secret_names()))
    before = target.read_text()
    done = made(target)
    assert done.returncode == 1
    assert "is there already and stays as it is" in done.stderr
    assert target.read_text() == before


def test_a_file_of_an_earlier_version_gets_the_secrets_that_are_new(tmp_path: Path) -> None:
    target = tmp_path / "env"
    target.write_text("RAY_AUTH_TOKEN=in-use\nLOTUS_WORKERS=7")
    target.chmod(0o600)
    done = made(target)
    assert done.returncode == 0, done.stderr
    assert "MLFLOW_NODES_PASSWORD" in done.stdout
    assert "RAY_AUTH_TOKEN" not in done.stdout
    found = env_of(target)
    assert found.pop("RAY_AUTH_TOKEN") == "in-use"
    assert found.pop("LOTUS_WORKERS") == "7"
    assert found.keys() == set(secret_names()) - {"RAY_AUTH_TOKEN"}
    assert all(len(value) == 40 for value in found.values())
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert made(target).returncode == 1
