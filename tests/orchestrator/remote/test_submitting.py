"""What is sent to a cluster: the whole sweep, the code, nothing secret and nothing local."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.remote.submitting import (
    PACKAGES,
    code_files,
    identity,
    passed_environment,
    prepare,
)

SERVER = "tracking: {uri: 'http://mlflow:5000'}\n"


def test_everything_that_means_this_machine_is_refused_at_once(
    tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.yaml"
    text = tiny_text.replace("{name: digits, ", "{name: digits, root: data, ")
    text = text.replace("pretrained: false", "pretrained: w.safetensors")
    path.write_text(text + "search: {data.root: [/shared, ../other]}\n")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SweepError) as found:
        prepare(str(path))
    said = str(found.value)
    assert "5 problems" in said
    assert "data.root = data: relative to this folder, which the cluster does not have" in said
    assert "search.data.root.1 = ../other: relative" in said
    assert "model.pretrained = w.safetensors: relative" in said
    assert "tracking.uri = sqlite:///" in said
    assert "write a server, http://HOST:5000" in said
    assert "storage.path: not given" in said
    assert "write s3://BUCKET/PATH" in said


def test_what_lies_on_every_node_is_sent_and_said(
    sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    found = prepare(str(sweep_file(SERVER)))
    assert found.notes == (f"every node must have {tmp_path}/store (storage.path)",)
    s3 = prepare(str(sweep_file(SERVER)), ["storage.path=s3://b/lotus"])
    assert s3.notes == ()
    here = prepare(
        str(sweep_file(SERVER)), ["storage.path=s3://b/l", "tracking.uri=http://localhost:5000"]
    )
    assert "means each node itself" in here.notes[0]
    places = ["storage.path=s3://b/l", "model.name=local-dir:/models/m"]
    model = prepare(str(sweep_file(SERVER)), places)
    assert model.notes == ("every node must have /models/m (model.name)",)
    hub = prepare(str(sweep_file(SERVER)), [places[0], "model.pretrained=hf-hub:org/m"])
    assert hub.notes == ()
    with pytest.raises(SweepError, match=r"model\.name = local-dir:m: relative to this folder"):
        prepare(str(sweep_file(SERVER)), [places[0], "model.name=local-dir:m"])


@pytest.mark.parametrize(
    "override",
    [
        "tracking.uri=http://me:geheim99@mlflow:5000",
        "tracking.uri=postgresql://mlflow/db?user=me&password=geheim99",
        "storage.path=s3://key:geheim99@bucket/lotus",
    ],
)
def test_a_password_is_never_sent_and_not_repeated(
    override: str, sweep_file: Callable[..., Path]
) -> None:
    with pytest.raises(SweepError) as found:
        prepare(str(sweep_file(SERVER)), [override])
    assert "holds a password or a token" in str(found.value)
    assert "geheim99" not in str(found.value)


def test_a_secret_of_this_environment_is_found_wherever_it_stands(
    sweep_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-31kQx77abc")
    with pytest.raises(SweepError, match=r"storage\.path: holds a password"):
        prepare(str(sweep_file(SERVER)), ["storage.path=/mnt/hf-31kQx77abc/store"])


@pytest.mark.parametrize(
    "passed",
    ["RAY_AUTH_TOKEN=x", "MLFLOW_TRACKING_PASSWORD", "AWS_ACCESS_KEY_ID=AK", "PGPASSWORD=p",
     "URI=http://me:geheim99@host"],
)  # fmt: skip
def test_secrets_are_refused_by_name(passed: str) -> None:
    with pytest.raises(SweepError, match="holds a secret and is not sent") as found:
        passed_environment([passed])
    assert passed.partition("=")[0] in str(found.value)
    assert "geheim99" not in str(found.value)


def test_other_variables_are_passed_and_wrong_ones_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://s3:8333")
    monkeypatch.delenv("NOBODY_HAS_IT", raising=False)
    found = passed_environment(["MLFLOW_S3_ENDPOINT_URL", "HF_HOME=/models=1"])
    assert found == {"MLFLOW_S3_ENDPOINT_URL": "http://s3:8333", "HF_HOME": "/models=1"}
    with pytest.raises(SweepError, match="is not set here"):
        passed_environment(["NOBODY_HAS_IT"])
    with pytest.raises(SweepError, match="is written --env NAME=VALUE"):
        passed_environment(["A B=1"])


def test_jobs_are_named_after_the_sweep_and_only_equal_sweeps_share_a_name(
    sweep_file: Callable[..., Path],
) -> None:
    path = sweep_file(SERVER)
    own = identity(load_sweep(path))
    assert own.startswith("lotus-tiny-")
    assert identity(load_sweep(path, ["retry.max_failures=7"])) == own
    others = {
        identity(load_sweep(path, [one]))
        for one in ("name=Tiny", "experiment=e", "tracking.uri=http://other:5000")
    }
    assert len(others | {own}) == 4
    odd = identity(load_sweep(path, ["name=a + b.c"]))
    assert odd.startswith("lotus-a-b-c-")


def test_the_code_is_all_that_a_program_needs_and_no_more() -> None:
    found = set(code_files())
    assert {"orchestrator/cli.py", "orchestrator/sweeps/digits.yaml", "dashboards/report.html.j2",
            "dashboards/report.css", "trials/py.typed"} <= found  # fmt: skip
    assert {name.split("/")[0] for name in found} == set(PACKAGES)
    assert not [name for name in found if "__pycache__" in name or name.endswith(".png")]


def test_what_was_sent_runs_from_its_own_folder(
    sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    """With the code beside it, and another Python on the PATH would do for the start."""
    folder = tmp_path / "sent"
    folder.mkdir()
    prepare(str(sweep_file(SERVER))).write(folder)
    assert load_sweep(folder / "sweep.yaml") == load_sweep(sweep_file(SERVER))
    job = json.loads((folder / "job.json").read_text())
    assert job["arguments"] == ["run", "--address", "auto"]
    (folder / "job.json").write_text(
        json.dumps(
            job | {"arguments": ["run", "--nope"], "versions": job["versions"] | {"timm": "0"}}
        )
    )
    marked = (folder / "orchestrator/__init__.py").open("a")
    marked.write("\nprint('the code that was sent')\n")
    marked.close()
    out = started(folder)
    assert "the code that was sent" in out.stdout
    assert "! the cluster computes with timm" in out.stdout
    assert "(submitted from: 0)" in out.stdout
    assert out.returncode == 2, "the exit code is that of `lotus`"
    assert "No such option" in out.stderr


def test_other_code_on_the_cluster_and_missing_packages_are_refused(
    sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    prepare(str(sweep_file(SERVER)), with_code=False).write(folder)
    assert not (folder / "orchestrator").exists()
    job = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps(job | {"code": "0" * 16}))
    out = started(folder)
    assert out.returncode == 1
    assert "the code differs: leave --no-code out" in out.stderr
    (folder / "job.json").write_text(json.dumps(job | {"versions": {"no-such-package": "1"}}))
    out = started(folder)
    assert out.returncode == 1
    assert "lacks no-such-package" in out.stderr
    assert "Traceback" not in out.stderr


def started(folder: Path) -> subprocess.CompletedProcess[str]:
    """`start.py` as a job runs it."""
    env = os.environ | {"HOME": str(folder.parent)}
    return subprocess.run(
        [sys.executable, str(folder / "start.py")],
        env=env, capture_output=True, text=True, check=False, cwd=folder, timeout=200,
    )  # fmt: skip
