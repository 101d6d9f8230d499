"""The whole cluster from docker-compose.yml: a sweep with a node that dies, ports, every line.

A head, two workers with token authentication, MLflow with accounts on PostgreSQL, SeaweedFS for
artifacts and the store, Prometheus where it is installed: real processes in namespaces, see
stack.py. The sweep is the tests' small one on the digits data, whose local run is at hand. By hand,
with LOTUS_STACK_SWEEP=digits, it is the bundled sweep of that name, which takes some minutes twice.
"""

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
import composed
import containers
from lines import NOT_RUN, is_seen
from programs import look, same_results, stored_bits
from running import Port, listed
from stack import stack, why_not
from story import Story, scraped, with_one, without_a_token

from orchestrator import run
from orchestrator.planning.sweepfile import bundled, load_sweep

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the same sweep, run on this machine alone."""
    name = os.environ.get("LOTUS_STACK_SWEEP")
    if name is None:
        found: Path = request.getfixturevalue("finished_sweep")
        return found
    request.getfixturevalue("ray_cluster")
    folder = tmp_path_factory.mktemp(name)
    own = f"storage: {{path: {folder}/store}}\ntracking: {{uri: 'sqlite:///{folder}/mlflow.db'}}\n"
    path = folder / f"{name}.yaml"
    path.write_text(bundled()[name].read_text() + own)
    assert not run(load_sweep(path), report=False).failed
    return path


@pytest.fixture(scope="module")
def story(local_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Everything that takes time, once."""
    if reason := containers.why_not():
        pytest.skip(reason)
    sweeps = tmp_path_factory.mktemp("sweeps")
    lines = local_run.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("tracking:", "storage:"))]
    (sweeps / "sweep.yaml").write_text("".join(kept))
    sweeps.chmod(0o755)
    with stack(LOTUS_SWEEPS=str(sweeps), LOTUS_WORKER_CPUS="1") as made:
        told = Story(made)
        without_a_token(told)
        with_one(told)
        told.scraped = scraped(made)
        yield told


def test_a_shell_without_the_token_is_refused_in_words(story: Story) -> None:
    for code, said in story.refused:
        assert code == 1
        assert re.search(r"(?m)^Error: .*token", said), said
        assert "Traceback" not in said


def test_with_a_node_killed_and_replaced_every_bit_is_that_of_the_local_run(
    story: Story, local_run: Path
) -> None:
    assert story.code == 0, story.said
    assert "died; it is tried again" in story.said
    assert "Traceback" not in story.said
    assert story.places == ("http://mlflow:5000", "s3://stages/store")
    assert set(story.seen.statuses) == {"FINISHED"}
    assert set(story.seen.keys.values()) == {1}
    assert set(story.seen.points.values()) == {1}
    assert same_results(story.seen) == same_results(look(local_run))
    assert story.bits == stored_bits(load_sweep(local_run))


def test_only_listed_ports_listen_and_where_the_table_says(story: Story) -> None:
    rows = listed()
    met: set[Port] = set()
    for name, found in story.listening.items():
        service = re.sub(r"-\d+$", "", name)
        inside = {"127.0.0.1", "::1"}
        for address, port in found:
            (row,) = [r for r in rows if r.service == service and r.has(port)] or [None]
            assert row is not None, f"{name} listens on {address}:{port}, which is not listed"
            met.add(row)
            assert (address in inside) if row.where == "container" else True, (name, address, port)
            if (
                row.where in story.stack.file["networks"]
                and address != "*"
                and address not in inside
            ):
                number = story.stack.nets.numbers[row.where]
                assert address.startswith(f"198.18.{number}."), (name, address, port)
    run_here = {r for r in rows if r.service in story.stack.services}
    assert {r for r in run_here - met if r.first == r.last} == set(), "listed, and nobody listens"


def test_published_ports_are_those_that_the_table_calls_so(story: Story) -> None:
    published = {
        (name, int(text.rsplit(":", 1)[1]))
        for name, service in story.stack.file["services"].items()
        for text in service.get("ports", [])
    }
    assert published == {(r.service, r.first) for r in listed() if r.where == "published"}


def test_every_port_refuses_without_credentials_or_is_listed_as_open_and_not_published(
    story: Story,
) -> None:
    asked = set()
    for (name, port, what), answer in story.answers.items():
        service = re.sub(r"-\d+$", "", name)
        (row,) = [r for r in listed() if r.service == service and r.has(port)]
        asked.add(row)
        if row.asks == "open":
            assert row.where not in ("published",)
            assert answer in ("200", "OK"), (name, port, what, answer)
        else:
            assert answer == row.asks, (name, port, what, answer)
    here = {r for r in listed() if r.service in story.stack.services and r.where != "container"}
    assert {r for r in here - asked if r.first == r.last} == set(), "nobody knocked there"
    assert [r for r in asked if r.first != r.last], "no worker process of Ray was asked"


def test_credentials_open_what_was_refused(story: Story) -> None:
    """A refusal that refuses everybody would prove nothing."""
    head = story.stack.running["head"]
    token = {"Authorization": f"Bearer {story.stack.env['RAY_AUTH_TOKEN']}"}
    login = base64.b64encode(f"lotus:{story.stack.env['MLFLOW_PASSWORD']}".encode()).decode()
    for url, headers in (
        ("http://head:8265/api/version", token),
        ("http://mlflow:5000/api/2.0/mlflow/experiments/get?experiment_id=0",
         {"Authorization": f"Basic {login}"}),
    ):  # fmt: skip
        ask = f"import urllib.request as u; u.urlopen(u.Request({url!r}, headers={headers!r}))"
        done = head.run(["python", "-c", ask])
        assert done.returncode == 0, done.stdout


def test_who_shares_no_network_with_a_service_cannot_reach_it(story: Story) -> None:
    made = story.stack
    for service, port, network in (
        ("postgres", 5432, "database"),
        ("prometheus", 9090, "monitoring"),
    ):
        if service in made.running:
            host = made.nets.address(network, made.running[service].spec.host)
            asked = json.dumps([(host, port, "/")])
            done = made.running["head"].run(["python", str(HERE / "knocking.py"), asked, "3"])
            assert json.loads(done.stdout)[0].startswith("nobody")


def test_prometheus_finds_the_nodes_through_rays_own_file(story: Story) -> None:
    if story.scraped is None:
        pytest.skip(str(why_not("prometheus")))
    nodes = {url for url in story.scraped if url.endswith(":8080/metrics")}
    assert len(nodes) == 3, story.scraped
    assert {url.split(":")[2] for url in story.scraped} == {
        "8080/metrics",
        "44217/metrics",
        "44227/metrics",
    }


def test_no_secret_is_in_any_volume_log_or_command_line(story: Story) -> None:
    secrets = {name: value.encode() for name, value in story.stack.secrets.items()}
    folder = story.stack.folder
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = []
    for path in files:
        content = path.read_bytes()
        found += [(str(path.relative_to(folder)), n) for n, v in secrets.items() if v in content]
    assert {where for where, _ in found} == {".env"}
    assert len(found) == len(secrets)
    for container in story.stack.running.values():
        for pid in container.processes:
            said = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert not any(value in said for value in secrets.values()), said


def test_no_process_of_a_node_has_an_admins_key(story: Story) -> None:
    kept = ("RAY_AUTH_TOKEN", "MLFLOW_NODES_PASSWORD", "S3_NODES_ACCESS_KEY", "S3_NODES_SECRET_KEY")
    secrets = {name: v.encode() for name, v in story.stack.secrets.items() if name not in kept}
    for name, container in story.stack.running.items():
        if name.startswith(("head", "worker")):
            for pid in container.processes:
                held = Path(f"/proc/{pid}/environ").read_bytes()
                assert [n for n, value in secrets.items() if value in held] == [], (name, pid)


def test_every_line_of_a_service_is_seen_in_its_process_or_listed_with_a_reason(
    story: Story,
) -> None:
    unseen: set[str] = set()
    for name, service in story.stack.services.items():
        (container, *_) = [c for c in story.stack.running.values() if c.spec.name.startswith(name)]
        for path, value in composed.lines(service):
            if not is_seen(story.stack, name, container, path, value):
                known = [key for key in NOT_RUN if path == key or path.startswith(f"{key}.")]
                assert known, f"{name}.{path} = {value} is not in the running process"
                unseen.add(known[0])
    assert unseen == set(NOT_RUN), "a reason that nothing needs"


def test_services_that_are_not_run_are_few_and_have_a_reason(story: Story) -> None:
    absent = story.stack.file["services"].keys() - story.stack.services.keys()
    assert absent <= {"grafana", "worker-gpu", "prometheus"}
    assert all(why_not(name) for name in absent)
