"""docker-compose.yml against the Compose specification, and against rules that no schema has."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import composed
from composed import EXAMPLE, FILE, ROOT, NotSetError, each_text, interpolated, load, raw

from orchestrator.deploy import accounts

SECRETS = composed.secret_names()
ENV = {name: f"{name}-of-this-test" for name in SECRETS}
FILLED = load(ENV)
SERVICES: dict[str, Any] = FILLED["services"]

every_service = pytest.mark.parametrize("name", SERVICES)


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    """The file against the specification's own JSON Schema, which check-jsonschema ships."""
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    command[0] = str(Path(sys.executable).parent / command[0])
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [("shm_size: 1g", "shm_sise: 1g"), ("condition: service_healthy", "condition: up")],
)
def test_the_file_is_as_the_specification_wants_it_and_a_broken_one_is_not(
    tmp_path: Path, old: str, new: str
) -> None:
    assert (done := checked(FILE)).returncode == 0, done.stdout
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(FILE.read_text().replace(old, new, 1))
    assert checked(broken).returncode == 1


def test_compose_finds_a_value_for_every_variable_in_one_of_two_forms() -> None:
    for text in each_text(raw()):
        assert "$" not in composed.VARIABLE.sub("", text), f"{text}: neither :- nor :?"


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_while_a_secret_is_not_set_and_the_message_says_what_to_do(
    name: str,
) -> None:
    with pytest.raises(NotSetError, match=f"required variable {name} .* Run `make secrets`"):
        load(ENV | {name: ""})


def test_every_required_variable_is_a_secret_of_the_example_and_no_secret_has_a_default() -> None:
    found = [m for text in each_text(raw()) for m in composed.VARIABLE.finditer(text)]
    assert {m["name"] for m in found if m["how"] == ":?"} == set(SECRETS)
    assert not {m["name"] for m in found if m["how"] == ":-"} & set(SECRETS)


@every_service
def test_no_password_stands_in_the_file(name: str) -> None:
    """What is called a secret is one variable and nothing else."""
    plain = re.compile(r"\$\{[A-Z0-9_]+:\?[^}]*\}")
    named = re.compile(r"PASSWORD|TOKEN$|SECRET|ACCESS_KEY|SIGNING_KEY")
    for variable, value in raw()["services"][name].get("environment", {}).items():
        if named.search(variable):
            assert plain.fullmatch(str(value)), variable


def test_rays_nodes_hold_the_keys_of_their_own_accounts_and_no_others() -> None:
    """What a sweep brings along runs there: no admin's key may be there."""
    held = {
        name: {m["name"] for t in each_text(s) for m in composed.VARIABLE.finditer(t)}
        & set(SECRETS)
        for name, s in raw()["services"].items()
    }
    nodes = {
        "RAY_AUTH_TOKEN",
        "MLFLOW_NODES_PASSWORD",
        "S3_NODES_ACCESS_KEY",
        "S3_NODES_SECRET_KEY",
    }
    for name in ("head", "worker-cpu", "worker-gpu"):
        assert held[name] == nodes, name
        assert SERVICES[name]["environment"]["MLFLOW_TRACKING_USERNAME"] == accounts.NODES
    assert "MLFLOW_PASSWORD" in held["mlflow"]
    assert {name for name, secrets in held.items() if "S3_SIGNING_KEY" in secrets} == {"s3"}


def test_the_table_of_secrets_names_each_one() -> None:
    table = (ROOT / "orchestrator/deploy/README.md").read_text().partition("## Who holds what")[2]
    assert set(re.findall(r"`([A-Z0-9_]+)`", table)) >= set(SECRETS)


def test_the_example_names_every_choice_with_its_default() -> None:
    stated = dict(re.findall(r"(?m)^#(LOTUS_[A-Z0-9_]+)=(.*)$", EXAMPLE.read_text()))
    found = {m["name"]: m["text"] for t in each_text(raw()) for m in composed.VARIABLE.finditer(t)}
    chosen = {name: text for name, text in found.items() if name not in SECRETS}
    assert stated.keys() == chosen.keys()
    paths = ("LOTUS_DATA", "LOTUS_SWEEPS")
    assert {n: t for n, t in stated.items() if n not in paths} == {
        n: t for n, t in chosen.items() if n not in paths
    }


@every_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    tag = SERVICES[name]["image"].partition("@")[0].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag), tag


def test_the_image_of_ours_has_this_version_and_a_pinned_base() -> None:
    version = re.search(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text())
    assert version
    ours = {s["image"] for s in SERVICES.values() if "build" in s}
    assert ours == {f"lotus-sweep:{version[1]}"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    bases = re.findall(r"(?m)^FROM (\S+) AS (\S+)", dockerfile)
    stages = {stage for _, stage in bases}
    (base,) = [base for base, _ in bases if base not in stages]
    assert base.partition("@")[0] == "python:3.11.14-slim-bookworm"
    assert SERVICES["head"]["build"]["target"] in stages


def test_the_dockerfile_copies_only_what_is_there_and_not_ignored_and_ends_as_nobody_special() -> (
    None
):
    text = (ROOT / "Dockerfile").read_text()
    copied = {
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", text)
        for source in line.split()[:-1]
    }
    allowed = set(re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text()))
    inside = {one for one in copied if any(one.startswith(f"{top}/") for top in allowed)}
    assert copied - inside == allowed
    assert all((ROOT / source).exists() for source in copied)
    last = text.rpartition("\nFROM ")[2]
    assert re.findall(r"(?m)^USER (\S+)$", last) == [SERVICES["head"]["user"]]
    for service in SERVICES.values():  # a volume takes its owner from the image's folder
        if "build" in service:
            targets = {m.target for m in composed.mounts(service) if m.named and not m.read_only}
            assert targets <= set(re.findall(r"(?<= )/\S+", last.split("COPY")[0]))


@every_service
def test_a_service_is_not_root_and_can_become_nothing_else(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].split(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True


@every_service
def test_a_service_has_a_health_check_limits_and_a_way_to_come_back(name: str) -> None:
    service = SERVICES[name]
    kind, program, *_ = service["healthcheck"]["test"]
    assert (kind, bool(program)) == ("CMD", True)
    assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@every_service
def test_a_service_waits_for_the_health_of_all_that_it_talks_to(name: str) -> None:
    service = SERVICES[name]
    waits = service.get("depends_on", {})
    assert all(how == {"condition": "service_healthy"} for how in waits.values())
    said = " ".join(each_text([service.get("environment", {}), service.get("command", [])]))
    called = {o for o in SERVICES if re.search(rf"(://|@|address=){o}:\d", said)} - {name}
    # The head does not talk to itself through its own name; Grafana's source is in its own file.
    assert called <= waits.keys()


@every_service
def test_ports_are_published_on_loopback_unless_a_variable_says_otherwise(name: str) -> None:
    for filled, plain in zip(
        SERVICES[name].get("ports", []), raw()["services"][name].get("ports", []), strict=True
    ):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", filled)
        assert plain.startswith("${LOTUS_BIND:-127.0.0.1}:${LOTUS_")


@every_service
def test_what_is_mounted_exists_and_what_is_written_is_a_named_volume(name: str) -> None:
    for mount in composed.mounts(SERVICES[name]):
        if mount.named:
            assert mount.source in FILLED["volumes"]
        else:
            assert mount.read_only, mount
            assert (ROOT / mount.source).exists(), mount


@pytest.mark.parametrize("name", ["head", "worker-cpu", "worker-gpu"])
@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR"])
def test_caches_lie_where_a_node_can_write(name: str, variable: str) -> None:
    """Its root cannot be written, and a worker has no home of its own."""
    service = SERVICES[name]
    assert service["read_only"]
    written = [m.target for m in composed.mounts(service) if not m.read_only]
    written += [text.split(":", 1)[0] for text in service["tmpfs"]]
    cache = Path(service["environment"][variable])
    assert any(cache.is_relative_to(target) for target in written)


def test_every_volume_and_network_is_used() -> None:
    used = {m.source for s in SERVICES.values() for m in composed.mounts(s) if m.named}
    assert used == FILLED["volumes"].keys()
    assert {n for s in SERVICES.values() for n in composed.networks(s)} == FILLED["networks"].keys()


def test_who_asks_for_nothing_is_reached_by_nobody_else() -> None:
    """PostgreSQL by MLflow alone; Prometheus, without a password, by Grafana alone."""

    def on(network: str) -> set[str]:
        return {name for name, s in SERVICES.items() if network in composed.networks(s)}

    assert on("database") == {"postgres", "mlflow"}
    assert FILLED["networks"]["database"] == {"internal": True}
    assert on("monitoring") == {"prometheus", "grafana"}
    (alias,) = composed.networks(SERVICES["prometheus"])["monitoring"]
    assert f"--web.listen-address={alias}:9090" in SERVICES["prometheus"]["command"]
    assert "ports" not in SERVICES["prometheus"]


def test_head_and_workers_open_the_same_fixed_ports() -> None:
    def ports(name: str) -> dict[str, str]:
        pairs = (arg.split("=", 1) for arg in SERVICES[name]["command"] if "-port=" in arg)
        return dict(pairs)

    own = {"--port", "--ray-client-server-port", "--dashboard-port"}
    assert ports("worker-cpu") == ports("worker-gpu")
    assert ports("worker-cpu").items() <= ports("head").items()
    assert ports("head").keys() - ports("worker-cpu").keys() == own
    assert len(set(ports("head").values())) == len(ports("head"))


def test_the_reader_of_variables_knows_both_forms() -> None:
    assert interpolated("a${B:-c}d", {}) == "acd"
    assert interpolated("a${B:-c}d", {"B": "x"}) == "axd"
    assert interpolated("${B:?is not set}", {"B": "x"}) == "x"
    with pytest.raises(NotSetError, match="required variable B is missing a value: is not set"):
        interpolated("${B:?is not set}", {"B": ""})


def test_the_file_has_no_duplicate_keys() -> None:
    """YAML would silently keep the last one."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        assert len(keys) == len(set(keys)), f"line {node.start_mark.line + 1}: {keys}"
        return yaml.SafeLoader.construct_mapping(loader, node, deep)

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    yaml.load(FILE.read_text(), Strict)  # noqa: S506
