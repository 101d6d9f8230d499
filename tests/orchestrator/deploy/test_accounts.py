"""What the nodes' accounts may do, and may not: a real MLflow with accounts, a real SeaweedFS."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest
import s3fs
import torch
from botocore.config import Config
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

sys.path.insert(0, str(Path(__file__).parent))
from composed import ROOT

from orchestrator.commands.collecting import asker, collect
from orchestrator.deploy import accounts
from orchestrator.planning.pins import pin
from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.publishing.best import publish_best
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.worker import Worker, run_stage, run_trial
from tests.orchestrator.programs import free_port
from tests.warm.starting import programs_in

pytestmark = pytest.mark.slow

ADMIN, NODES = "admin-password-of-this-test", "nodes-password-of-this-test"
KEYS = {
    "S3_ACCESS_KEY": "admin-id",
    "S3_SECRET_KEY": "admin-key",
    "S3_NODES_ACCESS_KEY": "nodes-id",
    "S3_NODES_SECRET_KEY": "nodes-key",
}


@dataclass(frozen=True)
class Servers:
    """Where they are."""

    mlflow: str
    s3: str
    gateway: str
    folder: Path
    process: subprocess.Popen[bytes]

    def as_user(self, patch: pytest.MonkeyPatch, name: str, password: str) -> None:
        """From now on this process is that user at MLflow."""
        patch.setenv("MLFLOW_TRACKING_URI", self.mlflow)
        patch.setenv("MLFLOW_TRACKING_USERNAME", name)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    def store(self, who: str) -> Any:
        """A client of the object store."""
        return boto3.client(
            "s3",
            endpoint_url=self.s3,
            aws_access_key_id=f"{who}-id",
            aws_secret_access_key=f"{who}-key",
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}),
        )


def until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a server."""
    end = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)


def weed(folder: Path, s3: int, gateway: int, **more: str) -> subprocess.Popen[bytes]:
    """SeaweedFS by the script that its containers start."""
    ports = {"master": free_port(), "volume": free_port(), "filer": free_port()}
    command = ["sh", str(ROOT / "orchestrator/deploy/s3/start.sh"), "-logtostderr=true", "server"]
    command += [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0", "-filer"]
    command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3"]
    command += [f"-s3.port={s3}", f"-s3.port.grpc={gateway}", "-s3.ip.bind=127.0.0.1"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    for name, port in ports.items():
        command += [f"-{name}.port={port}", f"-{name}.port.grpc={free_port()}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | KEYS | {"PATH": path, "TMPDIR": str(folder)}
    env |= {"WEED_JWT_FILER_SIGNING_KEY": "a-signing-key-of-this-test"} | more
    with (folder / "weed.log").open("wb") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)


def mlflow(folder: Path, port: int, s3: str, **more: str) -> subprocess.Popen[bytes]:
    """MLflow with accounts by the program that its containers start."""
    auth = (ROOT / "orchestrator/deploy/mlflow-auth.ini").read_text()
    auth = re.sub(r"(?m)^database_uri = .*$", f"database_uri = sqlite:///{folder}/auth.db", auth)
    (folder / "auth.ini").write_text(auth)
    command = [sys.executable, "-P", "-m", "orchestrator.deploy.accounts", "mlflow", "server"]
    command += ["--host=127.0.0.1", f"--port={port}", "--workers=1", "--app-name=basic-auth"]
    command += [f"--backend-store-uri=sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination=s3://artifacts"]
    kept = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    other = ("AWS_", "MLFLOW_")
    env = {n: v for n, v in os.environ.items() if n in kept or not n.startswith(other)} | {
        "PATH": f"{programs_in(folder / 'bin', 'mlflow')}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": "lotus",
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-this-test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "LOTUS_NODES_PASSWORD": NODES,
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "admin-id",
        "AWS_SECRET_ACCESS_KEY": "admin-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (folder / "mlflow.log").open("ab") as log:
        return subprocess.Popen(command, env=env | more, stdout=log, stderr=log, cwd=folder)


def until_made(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the accounts are there, as the health check does."""
    end = time.monotonic() + 300
    while not (folder / "accounts-made").exists():
        assert process.poll() is None, (folder / "mlflow.log").read_text()
        assert time.monotonic() < end, (folder / "mlflow.log").read_text()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both, with the accounts that `make up` makes."""
    folder = tmp_path_factory.mktemp("servers")
    s3, gateway, port = free_port(), free_port(), free_port()
    store = weed(folder, s3, gateway)
    started = [store]
    try:
        until_healthy(f"http://127.0.0.1:{s3}/healthz", store, folder / "weed.log")
        started.append(mlflow(folder, port, f"http://127.0.0.1:{s3}"))
        until_made(folder, started[-1])
        yield Servers(
            f"http://127.0.0.1:{port}",
            f"http://127.0.0.1:{s3}",
            f"127.0.0.1:{gateway}",
            folder,
            started[-1],
        )
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(60)


@pytest.fixture
def as_nodes(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """This process has what a node has."""
    servers.as_user(monkeypatch, accounts.NODES, NODES)
    for name, value in (
        ("AWS_ENDPOINT_URL", servers.s3),
        ("AWS_ACCESS_KEY_ID", "nodes-id"),
        ("AWS_SECRET_ACCESS_KEY", "nodes-key"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    return MlflowClient(servers.mlflow)


@pytest.fixture
def of_another(servers: Servers) -> Iterator[tuple[str, str]]:
    """An experiment of the admin's, and a run in it."""
    with pytest.MonkeyPatch.context() as patch:
        servers.as_user(patch, "lotus", ADMIN)
        client = MlflowClient(servers.mlflow)
        experiment = client.create_experiment(f"of-another-{uuid.uuid4().hex}")
        run = client.create_run(experiment).info.run_id
    yield experiment, run
    with pytest.MonkeyPatch.context() as patch:
        servers.as_user(patch, "lotus", ADMIN)
        assert client.get_experiment(experiment).lifecycle_stage == "active"
        assert client.get_run(run).info.lifecycle_stage == "active"


def refused(act: Callable[[], Any]) -> str:
    """What the server says where it does not do it, because of who asks."""
    with pytest.raises(MlflowException) as error:
        act()
    assert error.value.error_code == "PERMISSION_DENIED", error.value
    return str(error.value)


def test_a_sweep_can_be_run_published_and_collected_with_what_a_node_holds(
    servers: Servers, as_nodes: MlflowClient, tmp_path: Path, tiny_text: str
) -> None:
    torch.set_num_threads(1)
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"{tiny_text}experiment: e-{uuid.uuid4().hex}\ntracking: {{uri: '{servers.mlflow}'}}\n"
        f"storage: {{path: s3://stages/{uuid.uuid4().hex}, node_cache_gib: 0}}\n"
        "search: {patch_drop: [0.1, 0.3]}\n"
    )
    sweep = load_sweep(path)
    address, planned = open_sweep(sweep), plan(sweep)
    assert address is not None
    store, tracker = Store(sweep.storage.path), Tracker(address)
    pin(store, planned, address.parent)
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="best"
    )
    here = Worker(settings, store, tracker)
    first, second = planned.trials
    run_stage(here, job_of(first), key_of(first.graph.dense), planned.sources_of(first.config))
    for trial in planned.trials:
        run_trial(here, job_of(trial), planned.sources_of(trial.config))
    ids = {child.key: child.run_id for child in tracker.children()}
    assert {child.status for child in tracker.children()} == {"FINISHED"}
    for trial in (first, second):
        assert publish_best(planned, store, tracker, trial.key, sweep.retention, ids[trial.key])
    kept = {key: [f.path for f in as_nodes.list_artifacts(ids[key], "checkpoints")] for key in ids}
    assert kept[second.key]
    assert not kept[first.key], "the earlier best checkpoint is gone"
    as_nodes.delete_run(address.parent)
    # Of a run that is not there MLflow says to this account what it says of a forbidden one: that
    # sweep is kept, and only that one.
    absent, gone = uuid.uuid4().hex, "s-of-nobody"
    pin(store, replace(planned, sweep=sweep.model_copy(update={"name": gone})), absent)
    found = collect(store, asker([servers.mlflow]), grace_s=-1e6, dry_run=True)
    assert [name for name, _ in found.kept] == [gone]
    assert [name for name, _ in found.dropped] == [sweep.name]
    store.files.remove(f"sweeps/{absent}.json")
    assert collect(store, asker([servers.mlflow]), grace_s=-1e6).freed_bytes > 0
    assert not sum(info.bytes for info in store.files.list("objects").values())


def test_a_node_writes_runs_of_others_and_deletes_neither_them_nor_their_experiments(
    servers: Servers, as_nodes: MlflowClient, of_another: tuple[str, str]
) -> None:
    experiment, run = of_another
    as_nodes.log_metric(as_nodes.create_run(experiment).info.run_id, "final/sparsity", 0.5)
    as_nodes.set_tag(run, "lotus.error", "none")
    refused(lambda: as_nodes.delete_run(run))
    refused(lambda: as_nodes.delete_experiment(experiment))
    assert as_nodes.get_run(run).info.lifecycle_stage == "active"
    assert as_nodes.get_experiment(experiment).lifecycle_stage == "active"


def test_a_node_deletes_no_experiment_that_nodes_have_made_only_runs_in_it(
    as_nodes: MlflowClient,
) -> None:
    experiment = as_nodes.create_experiment(f"own-{uuid.uuid4().hex}")
    run = as_nodes.create_run(experiment).info.run_id
    refused(lambda: as_nodes.delete_experiment(experiment))
    as_nodes.delete_run(run)
    assert as_nodes.get_run(run).info.lifecycle_stage == "deleted"


def test_a_node_makes_no_users_and_gives_no_rights(
    servers: Servers, as_nodes: MlflowClient, of_another: tuple[str, str]
) -> None:
    from mlflow.server import get_app_client

    client: Any = get_app_client("basic-auth", servers.mlflow)
    for act in (
        lambda: client.create_user("somebody", "a-password-of-somebody"),
        lambda: client.delete_user("lotus"),
        lambda: client.update_user_admin(accounts.NODES, True),
        lambda: client.update_user_password("lotus", "another-password-of-lotus"),
        lambda: client.create_role(accounts.WORKSPACE, "everything"),
        lambda: client.grant_user_permission(accounts.NODES, "experiment", of_another[0], "MANAGE"),
    ):
        assert "denied" in refused(act).lower()


def test_a_node_touches_objects_of_its_bucket_and_nothing_else(servers: Servers) -> None:
    admin, nodes = servers.store("admin"), servers.store("nodes")
    admin.put_object(Bucket="artifacts", Key="a/b", Body=b"kept")
    name = uuid.uuid4().hex
    nodes.put_object(Bucket="stages", Key=name, Body=b"1")
    assert nodes.get_object(Bucket="stages", Key=name)["Body"].read() == b"1"
    assert name in [one["Key"] for one in nodes.list_objects_v2(Bucket="stages")["Contents"]]
    nodes.list_multipart_uploads(Bucket="stages")
    nodes.delete_object(Bucket="stages", Key=name)
    policy = '{"Version": "2012-10-17", "Statement": []}'
    for act in (
        lambda: nodes.get_object(Bucket="artifacts", Key="a/b"),
        lambda: nodes.put_object(Bucket="artifacts", Key="a/b", Body=b"changed"),
        lambda: nodes.delete_object(Bucket="artifacts", Key="a/b"),
        lambda: nodes.list_objects_v2(Bucket="artifacts"),
        lambda: nodes.copy_object(Bucket="stages", Key=name, CopySource="artifacts/a/b"),
        lambda: nodes.delete_bucket(Bucket="artifacts"),
        lambda: nodes.delete_bucket(Bucket="stages"),
        lambda: nodes.create_bucket(Bucket=name),
        lambda: nodes.put_object(Bucket=name, Key="made-on-the-way", Body=b""),
        lambda: nodes.put_bucket_policy(Bucket="stages", Policy=policy),
        lambda: nodes.put_bucket_acl(Bucket="stages", ACL="public-read-write"),
    ):
        with pytest.raises(ClientError) as error:
            act()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    many = nodes.delete_objects(Bucket="artifacts", Delete={"Objects": [{"Key": "a/b"}]})
    assert [one["Code"] for one in many["Errors"]] == ["AccessDenied"]
    assert admin.get_object(Bucket="artifacts", Key="a/b")["Body"].read() == b"kept"
    assert {b["Name"] for b in admin.list_buckets()["Buckets"]} == set(accounts.BUCKETS)


@pytest.mark.parametrize("method", ["PutIdentity", "ListPolicies"])
def test_nobody_becomes_an_admin_of_the_store_through_its_gateways_own_port(
    servers: Servers, method: str
) -> None:
    identity = b"\n\x02me\x12\x08\n\x02me\x12\x02me\x1a\x05Admin"  # name, key, rights
    request = b"\n" + bytes([len(identity)]) + identity if method == "PutIdentity" else b""
    with grpc.insecure_channel(servers.gateway) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/messaging_pb.SeaweedS3IamCache/{method}")(request, timeout=30)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


def test_made_again_with_another_password_the_old_one_is_refused_and_rights_are_put_right(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.server import get_app_client

    servers.as_user(monkeypatch, "lotus", ADMIN)
    client: Any = get_app_client("basic-auth", servers.mlflow)
    role = next(r for r in client.list_roles(accounts.WORKSPACE) if r.name == accounts.NODES)
    client.add_role_permission(role.id, "registered_model", "*", "MANAGE")
    for kept in client.list_role_permissions(role.id):
        if kept.resource_type == "trace":
            client.update_role_permission(kept.id, "MANAGE")
    accounts.make_accounts("another-password-of-the-nodes")
    have = {
        (one.resource_type, one.resource_pattern): one.permission
        for one in client.list_role_permissions(role.id)
    }
    assert have == accounts.RIGHTS
    servers.as_user(monkeypatch, accounts.NODES, "another-password-of-the-nodes")
    assert MlflowClient(servers.mlflow).search_experiments() is not None
    servers.as_user(monkeypatch, "lotus", ADMIN)
    accounts.make_accounts(NODES)
    servers.as_user(monkeypatch, accounts.NODES, "another-password-of-the-nodes")
    with pytest.raises(Exception, match=r"(?i)authoriz|authent|401"):
        MlflowClient(servers.mlflow).search_experiments()


def test_a_server_with_another_admin_is_not_healthy_and_says_why_as_it_ends(
    servers: Servers, tmp_path: Path
) -> None:
    (tmp_path / "auth.db").write_bytes((servers.folder / "auth.db").read_bytes())
    other = {"MLFLOW_AUTH_ADMIN_PASSWORD": "not-the-password-of-the-admin"}
    started = mlflow(tmp_path, free_port(), servers.s3, **other)
    assert started.wait(300) == 1
    assert not (tmp_path / "accounts-made").exists()
    assert "MLFLOW_PASSWORD" in (tmp_path / "mlflow.log").read_text()


def test_a_signal_ends_the_server_with_its_starter(servers: Servers, tmp_path: Path) -> None:
    port = free_port()
    started = mlflow(tmp_path, port, servers.s3)
    until_made(tmp_path, started)
    started.send_signal(signal.SIGTERM)
    started.wait(60)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)


@pytest.mark.parametrize("value", ["", 'a", "actions": ["Admin'])
def test_a_key_that_is_none_is_refused_before_the_store_starts(tmp_path: Path, value: str) -> None:
    started = weed(tmp_path, free_port(), free_port(), S3_NODES_SECRET_KEY=value)
    assert started.wait(60) == 1
    assert "S3_NODES_SECRET_KEY must consist of" in (tmp_path / "weed.log").read_text()
    assert not (tmp_path / "s3.json").exists()
