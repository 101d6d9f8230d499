"""A large artifact on a real MLflow server before a real S3 API, by every route."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking import database, patience
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import RunLog, Tracker, open_sweep
from tests.orchestrator.faults.conftest import Proxy, Server

SIZE = 24 * 2**20 + 1
BY_MLFLOW, BY_BOTO = 3, 4
"""Parts of such a file: MLflow's own have 10 MiB, those of the S3 client 8 MiB."""


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Iterator[str]:
    """A bucket; the environment holds what reaches it, and files of 8 MiB count as large."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", s3_server),
            ("MLFLOW_S3_ENDPOINT_URL", s3_server),
            ("AWS_ACCESS_KEY_ID", "lotus-test-key"),
            ("AWS_SECRET_ACCESS_KEY", "lotus-test-secret"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(2**23)),
        ):
            patch.setenv(name, value)
        name = f"b{uuid.uuid4().hex}"
        boto3.client("s3").create_bucket(Bucket=name)
        yield name


@pytest.fixture(scope="module")
def server(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server that keeps artifacts in the bucket."""
    folder = tmp_path_factory.mktemp("server")
    database.prepare(folder / "mlflow.db")
    made = Server(f"sqlite:///{folder}/mlflow.db", f"s3://{bucket}/artifacts")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before it that counts."""
    monkeypatch.setenv(patience.IN_PARTS, "true")
    found = Proxy(server.port)
    found.open()
    yield found
    found.close()


def logged(sweep: SweepConfig, uri: str, folder: Path) -> tuple[RunLog, bytes]:
    """A run with a large file, uploaded as a worker does it."""
    section = type(sweep.tracking)(uri=uri)
    address = open_sweep(sweep.model_copy(update={"tracking": section}))
    content = os.urandom(SIZE)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/final.safetensors").write_bytes(content)
    log = Tracker(address).start(Identity("k" * 64, "trial", "t"), background=True, fresh=True)
    log.artifacts(folder)
    log.finish()
    assert log.undelivered is None
    return log, content


def parts(bucket: str, log: RunLog) -> int:
    """In how many parts the large file of a run was written."""
    client = boto3.client("s3")
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    (found,) = (one for one in listed if log.run_id in one["Key"])
    assert found["Key"].endswith("/artifacts/checkpoints/final.safetensors")
    assert found["Size"] == SIZE
    return int(found["ETag"].strip('"').split("-")[1])


def same(log: RunLog, content: bytes, folder: Path) -> bool:
    """Whether it comes back as it was."""
    folder.mkdir()
    name = "checkpoints/final.safetensors"
    return (
        Path(log.client.download_artifacts(log.run_id, name, str(folder))).read_bytes() == content
    )


def test_parts_go_past_the_server_straight_to_s3(
    bucket: str, proxy: Proxy, tracked: SweepConfig, tmp_path: Path
) -> None:
    log, content = logged(tracked, proxy.url, tmp_path / "files")
    assert not [path for method, path in proxy.asked if method == "PUT"]
    assert parts(bucket, log) == BY_MLFLOW
    assert same(log, content, tmp_path / "back")


def test_where_s3_cannot_be_reached_the_server_passes_it_on(
    bucket: str,
    proxy: Proxy,
    tracked: SweepConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    monkeypatch.setattr(patience, "PAUSES_S", (0.05,))

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to the object store")

    monkeypatch.setattr(HttpArtifactRepository, "_upload_part", unreachable)
    log, content = logged(tracked, proxy.url, tmp_path / "files")
    assert len([path for method, path in proxy.asked if method == "PUT"]) == 1
    assert parts(bucket, log) == BY_BOTO
    assert same(log, content, tmp_path / "back")


def test_an_experiment_on_s3_gets_its_artifacts_without_the_server(
    bucket: str, proxy: Proxy, tracked: SweepConfig, tmp_path: Path
) -> None:
    from orchestrator.tracking.connection import connect

    where = f"s3://{bucket}/straight"
    sweep = tracked.model_copy(update={"name": "straight"})
    connect(proxy.url).create_experiment(sweep.experiment_name, artifact_location=where)
    log, content = logged(sweep, proxy.url, tmp_path / "files")
    assert not [path for _, path in proxy.asked if "artifacts" in path]
    assert parts(bucket, log) == BY_BOTO
    assert same(log, content, tmp_path / "back")
